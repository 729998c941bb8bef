"""How far our gradients are from the yardstick's."""

import numpy as np

from lightclip_ms.export.torch_names import to_torch_names


def load_gradients(folder: str) -> tuple[dict, dict, dict]:
    """By the yardstick's names: ours, PyTorch's in float32, PyTorch's in float64 (the reference)."""
    ours = to_torch_names(dict(np.load(f"{folder}/our_gradients.npz")))
    return ours, *(dict(np.load(f"{folder}/torch_gradients{kind}.npz")) for kind in ("_float32", ""))


def compare_gradients(found: dict, reference: dict) -> dict:
    """Relative differences of gradients.

    Returns:
        "overall": of all gradients as one vector; "median" over parameters; "worst" parameter, and its "worst_name".
        A parameter's difference is relative to its gradient's norm, or to 1e-3 of the largest norm if that is more.

        "overall" and "worst" say little about large batches: float32 puts a few of the millions of activations on the
        other side of a ReLU's kink than float64 does, in PyTorch as well.
    """
    if set(found) != set(reference):
        raise ValueError(f"gradients of different parameters: {sorted(set(found) ^ set(reference))}")
    norms = {name: np.linalg.norm(gradient) for name, gradient in reference.items()}
    errors = {name: np.linalg.norm(found[name] - gradient) for name, gradient in reference.items()}
    floor = 1e-3 * max(norms.values())
    relative = {name: errors[name] / max(norms[name], floor) for name in reference}
    worst = max(relative, key=relative.get)
    return {
        "overall": float(np.linalg.norm([*errors.values()]) / np.linalg.norm([*norms.values()])),
        "median": float(np.median([*relative.values()])),
        "worst": float(relative[worst]),
        "worst_name": worst,
    }
