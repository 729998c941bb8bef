"""Records that were left out or mended: counted by reason, the first few of each reason named in the log."""

import collections
import json
import logging
import threading

import numpy as np

_LOG = logging.getLogger("lightclip_ms.data")
_EXAMPLES = 3


def printable(name: str) -> str:
    """A file's name as UTF-8, whatever bytes it has, for logs and reports."""
    return name.encode("utf-8", "backslashreplace").decode()


class BadRecord(ValueError):
    """One unusable record. `reason` is one of a few fixed phrases to count by, `detail` what was found."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason = reason
        self.detail = detail


class SkipReport:
    """Counter by reason with examples; may be shared between threads.

    Attributes:
        counts: records left out, by reason; notes: records that are used, though something had to be mended.
    """

    def __init__(self):
        self.counts = collections.Counter()
        self.notes = collections.Counter()
        self._examples = collections.defaultdict(list)
        self._lock = threading.Lock()

    def __reduce__(self):
        return SkipReport, ()  # a copy in another process counts by itself

    def add(self, reason: str, name: str, detail: str = "") -> None:
        """Count one record `name`; the first three of a reason are logged."""
        self._count(self.counts, "skipped", reason, name, detail)

    def note(self, reason: str, name: str, detail: str = "") -> None:
        """Count one record `name` that is used all the same."""
        self._count(self.notes, "kept", reason, name, detail)

    def _count(self, counts, what: str, reason: str, name: str, detail: str) -> None:
        text = printable(f"{name} ({detail})" if detail else name)
        with self._lock:
            counts[reason] += 1
            first = len(self._examples[reason]) < _EXAMPLES
            if first:
                self._examples[reason].append(text)
        if first:
            _LOG.warning("%s, %s: %s", what, reason, text)

    @property
    def examples(self) -> dict[str, list[str]]:
        """Reason to its first few records."""
        with self._lock:
            return {reason: list(names) for reason, names in self._examples.items()}

    def to_array(self) -> np.ndarray:
        """The report as bytes, uint8 [B], to keep beside cached tables."""
        return np.frombuffer(json.dumps([self.counts, self.notes, self._examples]).encode("utf-8", "replace"), np.uint8)

    def add_array(self, array: np.ndarray) -> None:
        """Add what another report counted, as `to_array` gave it, without logging it again."""
        counts, notes, examples = json.loads(array.tobytes())
        with self._lock:
            self.counts.update(counts)
            self.notes.update(notes)
            for reason, names in examples.items():
                room = _EXAMPLES - len(self._examples[reason])
                self._examples[reason] += names[: max(room, 0)]

    def summary(self) -> str:
        """One line: each reason to leave out, its count and an example, the most frequent first."""
        return self._line(self.counts)

    def lines(self) -> list[str]:
        """What a script prints: one line for what was left out and one for what was mended, if any."""
        found = (("skipped", self.counts), ("kept", self.notes))
        return [f"{what}: {self._line(counts)}" for what, counts in found if counts]

    def _line(self, counts: collections.Counter) -> str:
        return "; ".join(
            f"{count} {reason}, e.g. {self._examples[reason][0]}" for reason, count in counts.most_common()
        )
