"""Runs inputs of one kind and counts how each ended."""

import collections
import contextlib
import itertools
import logging
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.fuzz.kinds import KINDS

OUTCOMES = ("tried", "refused", "accepted", "slow", "escaped")
SLOW = 1.0  # seconds of CPU time, so that a busy machine does not count
HUNG = 20.0  # seconds by the clock


class Hung(BaseException):
    """No error that the code under test could take for one of its own."""


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(number, frame):
        raise Hung(f"still running after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_one(kind: str, number: int, seed: int = 0) -> tuple[str, float, str]:
    """(refused, accepted or escaped; CPU seconds; what was raised) of input `number`."""
    make, use = KINDS[kind]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        made = make(np.random.default_rng([seed, number]), Path(folder))
        start = time.process_time()
        try:
            with _alarm(HUNG):
                use(made)
            outcome, detail = "accepted", ""
        except (ValueError, OSError) as error:
            outcome, detail = "refused", f"{type(error).__name__}: {error}"
        except KeyboardInterrupt:
            raise
        except BaseException:
            outcome, detail = "escaped", traceback.format_exc()
        return outcome, time.process_time() - start, detail


def run(kind: str, count: int | None = None, seconds: float | None = None, seed: int = 0, first: int = 0):
    """Run inputs `first`, `first` + 1, ... until `count` were tried or `seconds` have passed.

    Returns:
        Counter of `OUTCOMES`, and for each slow or escaped input a line with its number and what happened.
    """
    counts, found, end = collections.Counter(), [], time.monotonic() + (seconds or float("inf"))
    log = logging.getLogger("lightclip_ms")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        for number in itertools.count(first):
            if (count is not None and counts["tried"] >= count) or time.monotonic() > end:
                return counts, found
            outcome, took, detail = run_one(kind, number, seed)
            counts["tried"] += 1
            counts[outcome] += 1
            if outcome == "escaped":
                found.append(f"input {number} escaped: {detail}")
            if took > SLOW:
                counts["slow"] += 1
                found.append(f"input {number} was slow: {took:.1f} s of CPU time ({outcome}) {detail}")
    finally:
        log.setLevel(level)
