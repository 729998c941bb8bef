"""Batches on their way to the device: one ahead of the step, in memory that the card reads by itself."""

import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator

import mindspore as ms
from mindspore import Tensor

from lightclip_ms.data.threads import Threads


def one_ahead(batches: Generator, prepare: Callable) -> Iterator:
    """`prepare(batch)` of each batch, made in a thread while the caller works on the one before.

    The call of a step returns when the device has finished it, so nothing else would be prepared meanwhile.
    Raises what `batches` or `prepare` raised, after all batches before. At its end `batches` is closed.
    """
    with contextlib.closing(batches), Threads(1) as thread:
        following = thread.submit(_take, batches, prepare)
        while (ready := following.result()) is not None:
            following = thread.submit(_take, batches, prepare)
            yield ready


def ready_to_upload(arguments: Iterable) -> tuple:
    """The same arguments of a step; on Ascend, tensors are in page-locked memory.

    MindSpore copies them when the graph runs, in front of the first kernel that reads them. From ordinary memory of the
    host CANN copies synchronously, even the four bytes of a learning rate: the thread that launches kernels would wait
    for each. See docs/ascend.md.
    """
    if ms.get_context("device_target") != "Ascend":
        return tuple(arguments)
    return tuple(argument.pin_memory() if isinstance(argument, Tensor) else argument for argument in arguments)


def _take(batches: Iterator, prepare: Callable):
    batch = next(batches, None)
    return None if batch is None else prepare(batch)
