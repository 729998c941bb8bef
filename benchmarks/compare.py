"""How far our gradients are from the yardstick's."""
import numpy as np

from benchmarks.weights import to_torch_names


def worst_gradient(folder: str) -> tuple[str, float]:
    """Name and size of the largest difference, each gradient's relative to its own norm (at least 1e-3 of the largest)."""
    ours = to_torch_names(dict(np.load(f"{folder}/our_gradients.npz")))
    theirs = np.load(f"{folder}/torch_gradients.npz")
    if set(ours) != set(theirs.files):
        raise ValueError(f"gradients of different parameters: {sorted(set(ours) ^ set(theirs.files))}")
    norms = {name: np.linalg.norm(theirs[name]) for name in ours}
    floor = 1e-3 * max(norms.values())
    errors = {name: np.linalg.norm(ours[name] - theirs[name]) / max(norms[name], floor) for name in ours}
    worst = max(errors, key=errors.get)
    return worst, float(errors[worst])
