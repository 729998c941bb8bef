"""What a checkpoint of a run holds, and which run it may resume."""

import re

from mindspore import nn

from lightclip_ms.config.checks import shown
from lightclip_ms.config.file import from_dict, to_dict
from lightclip_ms.config.schema import Config
from lightclip_ms.model.weights import cell_arrays, load_cell
from lightclip_ms.runtime.versions import versions
from lightclip_ms.train import joined_vectors
from lightclip_ms.train.adamw import convert_state

_OPTIMIZERS = ("optimizer.", *(f"optimizer.groups.{group}." for group in range(3)))  # the latter: tower_rates
# Its references to the objective's parameters, and copies of them.
_UPDATE_COPIES = (
    *("objective.", "logit_scale", "vectors."),
    *(f"{optimizer}{copy}" for optimizer in _OPTIMIZERS for copy in ("objective.", joined_vectors.NAME)),
)
# Settings that do not affect the result, so a run may resume with others.
_MAY_CHANGE = {
    "train.log_every",
    "train.profile_steps",
    "train.save_minutes",
    "train.save_steps",
    "train.keep",
    "train.eval_epochs",
    "train.best_metric",
    "data.workers",
    "data.val",
    "data.zeroshot",
    "data.zeroshot_classes",
    "data.zeroshot_templates",
    "model.pretrained",  # a path: the file's digest identifies it
    "device",
    "output_dir",
    "resume",
}
_FOLDERS = r"""(^|[\s,;|{('"=:])(?:~[^,/\\]*)?[/\\](?:[^,]*[/\\])?"""  # of an absolute path, alone or in a list

_BEFORE = {"train.pack_captions": False}


class TrainState:
    """Everything that training changes: weights, training-only parts, moments and loss scale.

    Names in a checkpoint are `model/...` (what inference needs), `objective/...` (heads of the terms) and `update/...`.
    """

    def __init__(self, objective: nn.Cell, update: nn.Cell):
        self._vectors = update.vectors
        # (cell, prefix, names that belong to another of the three)
        self._cells = (
            (objective.model, "model", ()),
            (objective, "objective", ("model.",)),
            (update, "update", _UPDATE_COPIES),
        )

    def arrays(self) -> dict:
        """Copies of all arrays, by name."""
        arrays = {
            name: array for cell, prefix, skip in self._cells for name, array in cell_arrays(cell, prefix, skip).items()
        }
        return self._vectors.moments_apart(arrays)

    def load(self, arrays: dict, source) -> None:
        """Set everything from `arrays`. Raises ValueError that names the first array that does not fit."""
        arrays = self._vectors.moments_joined(convert_state(arrays), source)
        for cell, prefix, skip in self._cells:
            load_cell(cell, prefix, arrays, source, skip)


def make_header(kind: str, config: Config, global_step: int, world_size: int, pretrained: str) -> dict:
    """The part of a checkpoint's header that is the same for training checkpoints and exported models.

    `pretrained` is the digest of the weights that the run started from (`transfer.load_pretrained`).
    """
    described = to_dict(config)
    return {
        "kind": kind,
        "config": described if kind == "training" else _without_folders(described),
        "global_step": global_step,
        "world_size": world_size,
        "pretrained": pretrained,
        "versions": versions(),
        "samples_seen": global_step * config.train.batch_size * world_size,
    }


def _without_folders(values):
    """A configuration with absolute paths cut to their last part: an exported model names no folder of its machine."""
    if isinstance(values, dict):
        return {key: _without_folders(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_without_folders(value) for value in values]
    return re.sub(_FOLDERS, r"\1", values) if isinstance(values, str) else values


def require_resumable(header: dict) -> None:
    """ValueError unless a checkpoint's header has what resuming reads."""
    right = {
        "config": isinstance(header.get("config"), dict),
        "global_step": type(header.get("global_step")) is int and 0 <= header["global_step"] < 10**12,
        "world_size": type(header.get("world_size")) is int and 1 <= header["world_size"] < 10**6,
        "packed_rows": type(header.get("packed_rows", 0)) is int and 0 <= header.get("packed_rows", 0) < 10**9,
    }
    for key, is_right in right.items():
        if not is_right:
            raise ValueError(f"no checkpoint of training: {key} in its header is {shown(header.get(key))}")


def _flatten(values: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in values.items():
        flat.update(_flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat


def refuse_other_run(header: dict, config: Config, world_size: int, pretrained: str, path) -> None:
    """Refuse to resume if any setting that affects the result has changed, or the weights that the run started from."""
    if header.get("pretrained", "") != pretrained:
        raise ValueError(
            f"{path}: the run started from weights with SHA-256 {header.get('pretrained') or 'none'}, model.pretrained "
            f"has {pretrained or 'none'}; set it back, or start a new run with another output_dir"
        )
    try:
        made_with = from_dict(header["config"])
    except ValueError as error:
        raise ValueError(f"{path}: made with a configuration that is not valid here: {error}") from None
    then = {**_flatten(to_dict(made_with)), "world_size": header["world_size"]}
    # Keys that are younger than the checkpoint: what the version before them did.
    then |= {key: value for key, value in _BEFORE.items() if key not in _flatten(header["config"])}
    now = {**_flatten(to_dict(config)), "world_size": world_size}
    for key in sorted(then.keys() | now.keys()):
        if then.get(key) != now.get(key) and key not in _MAY_CHANGE:
            was, now_is = str(then.get(key))[:200], str(now.get(key))[:200]
            raise ValueError(
                f"{path}: made with {key}={was}, now it is {now_is}; set it back, or start a new run with another "
                "output_dir"
            )
