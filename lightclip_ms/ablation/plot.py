"""The results of a grid as one picture."""

from matplotlib.figure import Figure

COLOUR = "#08519c"


def comparison_figure(summary: list[dict], baseline: str) -> Figure:
    """One panel per encoder: every seed as a dot, means as a line, the interval of the difference around the mean.

    Args:
        summary: of `table.summarize`; baseline: the row whose mean is the dashed line.
    """
    encoders = list(dict.fromkeys(entry["encoder"] for entry in summary))
    figure = Figure(figsize=(1.5 + 4 * len(encoders), 3.6), layout="constrained")
    for axis, encoder in zip(figure.subplots(1, len(encoders), squeeze=False)[0], encoders):
        entries = [entry for entry in summary if entry["encoder"] == encoder]
        for place, entry in enumerate(entries):
            values = list(entry["seeds"].values())
            axis.plot([place] * len(values), values, "o", color="#9ecae1", markersize=5)
            axis.plot([place - 0.2, place + 0.2], [entry["mean"]] * 2, color=COLOUR, linewidth=2)
            if entry["row"] == baseline:
                axis.axhline(entry["mean"], color="#999999", linewidth=0.8, linestyle="--", zorder=0)
            if entry["interval"] is not None:
                low, high = (edge - entry["difference"] for edge in entry["interval"])
                axis.errorbar(place, entry["mean"], [[-low], [high]], color=COLOUR, capsize=4)
        axis.set_xticks(range(len(entries)), [entry["row"] for entry in entries], rotation=30, ha="right")
        axis.set(title=encoder, ylabel=f"{entries[0]['metric']}, %")
    return figure
