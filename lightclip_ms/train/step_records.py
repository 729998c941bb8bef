"""Metrics of the last steps: kept on the device until somebody reads them, then checked and made into records."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from mindspore import Tensor


class StepRecords:
    """Steps whose metrics have not been read: reading a number waits for the device, so several are read at once.

    Args:
        names: of the metrics, as the step returns them.
        terms: the objective's, which know more about what is not finite.
        key_of: the data set's key of a sample.
        checkpoints: paths of those saved so far, oldest first.

    Attributes:
        skipped: updates left out so far because the scaled gradient overflowed.
    """

    def __init__(
        self,
        names: Sequence[str],
        terms: Sequence,
        key_of: Callable[[int], str],
        checkpoints: Callable[[], Sequence[Path]],
    ):
        self.skipped = 0
        self._names, self._terms, self._key_of, self._checkpoints = names, terms, key_of, checkpoints
        self._unread = []

    def add(self, metrics: Tensor, record: dict, index) -> None:
        """Keep a step's metrics, float32 [names], what else its record holds, and its samples' numbers, int [N]."""
        self._unread.append((metrics, record, index))

    def read(self) -> tuple[list[dict], bool]:
        """Records of the steps since the last read, and whether some rank was asked to stop before the last of them.

        Raises:
            FloatingPointError: a loss is not finite, or a gradient that no smaller loss scale mends.
        """
        records, stop = [], False
        for metrics, record, index in self._unread:
            record.update(zip(self._names, metrics.asnumpy().tolist()))
            stop = bool(record.pop("stop"))
            self._check_finite(record, index)
            self.skipped += int(record["overflow"])
            records.append(record)
        self._unread.clear()
        return records, stop

    def _check_finite(self, record: dict, index) -> None:
        errors = [error for error in (term.take_error() for term in self._terms) if error is not None]
        if is_sound(record) and not errors:
            return
        # A term that knows the row names one sample; otherwise the first few stand for the batch.
        rows = [error.row for error in errors if getattr(error, "row", None) is not None] or range(min(8, len(index)))
        keys = ", ".join(self._key_of(int(index[row])) for row in rows)
        terms = ", ".join(f"{name} {record[name]:.6g}" for name in self._names if name in record)
        reason = "; ".join(str(error) for error in errors)
        saved = self._checkpoints()
        raise FloatingPointError(
            f"step {record['step']}: the loss or its gradient is not finite ({terms}); {reason} samples {keys}; "
            f"last checkpoint {saved[-1] if saved else 'none'}"
        )


def is_sound(record: dict) -> bool:
    """Whether the loss is finite, and the gradient too unless a smaller loss scale may still mend it."""
    overflow = record["overflow"] and record["loss_scale"] > 1
    return math.isfinite(record["loss"]) and (math.isfinite(record["grad_norm"]) or bool(overflow))
