"""The line on the screen while a run trains."""

import time
from collections.abc import Iterator

import mindspore as ms

from lightclip_ms.runtime.peak_memory import peak_megabytes


def clock(seconds: float) -> str:
    """h:mm:ss."""
    seconds = round(seconds)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


class Rate:
    """Rate, share of time spent waiting for data, and time left; the first step, which compiles, is left out.

    Args:
        images_per_step: pairs of all ranks together.
        total_steps: of the whole run.
    """

    def __init__(self, images_per_step: int, total_steps: int):
        self.images_per_step = images_per_step
        self.total_steps = total_steps
        self._first_step = None

    @property
    def started(self) -> bool:
        """Whether the first step of this process is done."""
        return self._first_step is not None

    def start(self, global_step: int) -> None:
        """Call after the first step of this process."""
        self._first_step, self._waited = global_step, 0.0
        self._start, self._processor_start = time.monotonic(), time.process_time()

    def timed(self, batches: Iterator) -> Iterator:
        """The same batches; the time that each is waited for is added up."""
        while True:
            began = time.monotonic()
            batch = next(batches, None)
            if self.started:
                self._waited += time.monotonic() - began
            if batch is None:
                return
            yield batch

    def measure(self, global_step: int) -> dict:
        """Means since `start`: images_per_second, data_wait, processor_seconds, eta_seconds; {} before a second step.

        Processor seconds are those of a step in all threads of this process: on a CPU that other programs use too they
        tell what a step costs better than its duration does.
        """
        if not self.started or global_step <= self._first_step:
            return {}
        elapsed, steps = time.monotonic() - self._start, global_step - self._first_step
        per_step = elapsed / steps
        return {
            "images_per_second": round(self.images_per_step / per_step, 1),
            "data_wait": round(self._waited / elapsed, 4),
            "processor_seconds": round((time.process_time() - self._processor_start) / steps, 4),
            "eta_seconds": round(per_step * (self.total_steps - global_step), 1),
        }


def memory() -> dict:
    """{"memory_mb"}: peak of this process; on an accelerator {"device_memory_mb"} too: peak of its tensors."""
    used = {"memory_mb": round(peak_megabytes())}
    if ms.get_context("device_target") != "CPU":
        used["device_memory_mb"] = round(ms.runtime.max_memory_allocated() / 1e6)
    return used


def progress_line(record: dict, terms, epochs: int, total_steps: int, skipped: int = 0) -> str:
    """One line of a metrics record: where, the loss and its terms, the rate.

    Args:
        terms: the objective's, in its order.
        skipped: updates left out because the scaled gradient overflowed.
    """
    values = ", ".join(f"{term.name} {record[term.name]:.4f}" for term in terms)
    line = (
        f"epoch {record['epoch'] + 1}/{epochs} step {record['step']}/{total_steps} "
        f"loss {record['loss']:.4f} ({values}) lr {record['lr']:.2e} scale {record['logit_scale']:.1f} "
        f"grad {record['grad_norm']:.2f}"
    )
    line += "".join(term.advice(record) for term in terms)
    if record["loss_scale"] != 1:
        line += f" loss scale {record['loss_scale']:.0f} ({skipped} overflows)"
    if "images_per_second" in record:
        line += (
            f" | {record['images_per_second']:.0f} images/s, data wait {record['data_wait']:.0%}, "
            f"ETA {clock(record['eta_seconds'])}"
        )
    if "memory_mb" in record:
        line += f" | memory {record['memory_mb'] / 1e3:.1f} GB"
    if "device_memory_mb" in record:
        line += f", device {record['device_memory_mb'] / 1e3:.1f} GB"
    return line
