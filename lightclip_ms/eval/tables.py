"""Results in the layout of the paper's Tables 1 to 3, beside the paper's own numbers."""

import functools
from importlib import resources

import yaml

from lightclip_ms.eval.sets.class_order import describe_classes
from lightclip_ms.eval.sets.prompts import built_in
from lightclip_ms.eval.sets.retrieval import SETS

OURS = "this checkpoint"
_METRICS = {"top1": "top-1", "top5": "top-5", "mean_per_class": "mean per class"}
_DIRECTIONS = (("image_to_text", "image to text"), ("text_to_image", "text to image"))


@functools.lru_cache(maxsize=1)
def paper() -> dict:
    """The content of `paper.yaml`."""
    return yaml.safe_load(resources.files(__package__).joinpath("paper.yaml").read_text(encoding="utf-8"))


def tables(results: dict[str, dict], encoder: str) -> list[dict]:
    """The three tables: {"title", "columns", "rows": [(method, [value or None, ...]), ...]}, ours last.

    Args:
        results: by data set, as `suite.run` gives them.
        encoder: key of the image encoder; the paper's rows are there only for the three it reports.
    """
    small = paper()["table2"]["columns"]
    values = [results[key]["value"] if key in results else None for key in small]
    average = sum(values) / len(values) if None not in values else None
    retrieval = [(key, direction, f"R@{k}") for key in SETS for direction, _ in _DIRECTIONS for k in (1, 5)]
    names = dict(_DIRECTIONS)
    layout = [
        (
            "Table 1: zero-shot classification, ImageNet",
            ["Top-1"],
            "table1",
            [results.get("imagenet", {}).get("value")],
        ),
        (
            "Table 2: zero-shot accuracy on small data sets",
            [built_in()[key]["column"] for key in small] + ["AVG"],
            "table2",
            values + [average],
        ),
        (
            "Table 3: zero-shot image-text retrieval",
            [f"{SETS[key]['name']} {names[direction]} {recall}" for key, direction, recall in retrieval],
            "table3",
            [results[key][f"{direction}_{recall}"] if key in results else None for key, direction, recall in retrieval],
        ),
    ]
    return [
        {"title": title, "columns": columns, "rows": [*_paper_rows(table, encoder), (OURS, ours)]}
        for title, columns, table, ours in layout
    ]


def _paper_rows(table: str, encoder: str) -> list[tuple[str, list[float]]]:
    rows = paper()[table].get(encoder, {})
    return [(f"{method} (paper)", value if isinstance(value, list) else [value]) for method, value in rows.items()]


def to_markdown(results: dict[str, dict], encoder: str, absent: dict[str, str], provenance: dict) -> str:
    """The report: three tables, notes on incomplete and absent sets, and how it was made."""
    name = paper()["encoders"].get(encoder, encoder)
    parts = [
        f"# Zero-shot evaluation of {provenance['model']} ({name})",
        "Rows marked (paper) are copied from the paper; a dash was not evaluated.",
    ]
    for table in tables(results, encoder):
        lines = [
            f"## {table['title']}",
            "",
            "| method | " + " | ".join(table["columns"]) + " |",
            "|---" * (len(table["columns"]) + 1) + "|",
        ]
        lines += [
            f"| {method} | " + " | ".join("–" if value is None else f"{value:.1f}" for value in row) + " |"
            for method, row in table["rows"]
        ]
        parts.append("\n".join(lines))
    columns = "| set | in the table | also | images | skipped | templates | images/s | texts/s |"
    parts.append(
        "\n".join(
            ["## Details", "", columns, "|---" * 8 + "|", *(_detail(key, result) for key, result in results.items())]
        )
    )
    classes = [f"- {key}: {describe_classes(r['class_names'])}" for key, r in results.items() if "class_names" in r]
    if classes:
        parts.append("\n".join(["## Classes", "", *classes]))
    if absent:
        parts.append("\n".join(["## Absent", "", *(f"- {key}: put {where}" for key, where in absent.items())]))
    parts.append("\n".join(["## How", "", *(f"- {key}: {value}" for key, value in provenance.items())]))
    return "\n\n".join(parts) + "\n"


def _detail(key: str, result: dict) -> str:
    images = f"{result['images']}"
    if result["images"] + result["skipped_images"] != result["expected_images"]:
        images += f" (official: {result['expected_images']})"
    if "metric" in result:
        metric = _METRICS[result["metric"]]
        also = ", ".join(f"{words} {result[name]:.1f}" for name, words in _METRICS.items() if words != metric)
    else:
        metric = "R@1, R@5"
        also = ", ".join(f"{words} R@10 {result[f'{direction}_R@10']:.1f}" for direction, words in _DIRECTIONS)
        also += f", mean recall {result['mean_recall']:.1f}"
    texts = "cached" if result["texts_per_second"] is None else result["texts_per_second"]
    return (
        f"| {key} | {metric} | {also} | {images} | {result['skipped_images']} | {result.get('templates', '–')} | "
        f"{result['images_per_second']} | {texts} |"
    )


def to_csv(results: dict[str, dict], encoder: str) -> str:
    """One line per cell: table, method, column, value."""
    lines = ["table,method,column,value"]
    for number, table in enumerate(tables(results, encoder), 1):
        lines += [
            f"{number},{method},{column},{'' if value is None else f'{value:.4f}'}"
            for method, row in table["rows"]
            for column, value in zip(table["columns"], row)
        ]
    return "\n".join(lines) + "\n"
