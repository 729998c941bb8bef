"""MindSpore's own trace of a few steps, on any device: `train.profile_steps`."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import mindspore as ms
from mindspore import profiler

_ACTIVITIES = {
    "CPU": (profiler.ProfilerActivity.CPU,),
    "GPU": (profiler.ProfilerActivity.CPU, profiler.ProfilerActivity.GPU),
    "Ascend": (profiler.ProfilerActivity.CPU, profiler.ProfilerActivity.NPU),
}


class StepProfiler:
    """Traces the steps `first` to `last`, counted from 1, into `folder`.

    Args:
        steps: (first, last); (0, 0) traces nothing.
        folder: made when the trace begins.
        is_tracer: False on ranks that only take part.
        say: is called with where the trace is.
    """

    def __init__(self, steps: tuple[int, int], folder: Path, is_tracer: bool, say: Callable[[str], None] = print):
        self._first, self._last = steps if is_tracer else (0, 0)
        self._folder, self._say = folder, say
        self._profile = None

    def before(self, step: int) -> None:
        """Begin, if `step` is one of the traced ones: a run may resume among them."""
        if self._profile is None and self._first <= step <= self._last:
            self._profile = profiler.profile(
                activities=list(_ACTIVITIES[ms.get_context("device_target")]),
                on_trace_ready=profiler.tensorboard_trace_handler(str(self._folder)),
            )
            self._profile.start()

    def after(self, step: int, metrics: ms.Tensor) -> None:
        """End after the last traced step, whose `metrics` are waited for."""
        if self._profile is not None and step == self._last:
            metrics.asnumpy()
            with contextlib.redirect_stdout(io.StringIO()):  # MindSpore prints how far it is
                self._profile.stop()
            self._profile = None
            self._say(f"trace of steps {self._first} to {self._last} in {self._folder}")
