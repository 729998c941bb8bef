"""What a step is called with: the same values in the same order, one batch ahead, page-locked on Ascend."""

import threading

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lightclip_ms.analysis.step_graph import built_for
from lightclip_ms.train.upload import one_ahead, ready_to_upload


@pytest.fixture
def pinned(monkeypatch):
    """Copies that stand for page-locked ones, which no machine without a card can make."""
    made = []

    def pin_memory(tensor):
        made.append(Tensor(tensor.asnumpy().copy()))
        return made[-1]

    monkeypatch.setattr(Tensor, "pin_memory", pin_memory)
    return made


def arguments():
    return Tensor(2, ms.int32), ms.mutable(1e-3), Tensor(np.arange(6, dtype=np.uint8).reshape(2, 3)), Tensor(0.5)


def test_on_ascend_every_tensor_is_page_locked_and_numbers_stay(pinned):
    given = arguments()
    with built_for("Ascend"):
        ready = ready_to_upload(iter(given))
    assert [id(ready[place]) for place in (0, 2, 3)] == [id(tensor) for tensor in pinned]
    assert ready[1] is given[1]
    for before, after in zip(given, ready):
        assert type(before) is type(after)
        if isinstance(before, Tensor):
            assert before.dtype == after.dtype and np.array_equal(before.asnumpy(), after.asnumpy())


def test_elsewhere_nothing_is_copied(pinned):
    given = arguments()
    assert all(before is after for before, after in zip(given, ready_to_upload(given))) and not pinned


def test_the_next_batch_is_prepared_while_the_caller_has_the_last():
    prepared = [threading.Event() for _ in range(4)]

    def prepare(number):
        prepared[number].set()
        return number * 10

    taken = []
    for value in one_ahead((number for number in range(4)), prepare):
        taken.append(value)
        if len(taken) < 4:
            assert prepared[len(taken)].wait(60)  # while this loop's body runs
        assert not any(event.is_set() for event in prepared[len(taken) + 1 :])  # and no more than one
    assert taken == [0, 10, 20, 30]


def test_an_error_comes_after_the_batches_before_it():
    def batches():
        yield from (1, 2)
        raise OSError("disk")

    taken = []
    with pytest.raises(OSError, match="disk"):
        for value in one_ahead(batches(), str):
            taken.append(value)
    assert taken == ["1", "2"]


def test_a_loop_that_ends_early_closes_its_source_and_leaves_no_thread():
    closed, before = threading.Event(), threading.active_count()

    def batches():
        try:
            yield from range(100)
        finally:
            closed.set()

    ahead = one_ahead(batches(), str)
    assert next(ahead) == "0"
    ahead.close()
    assert closed.is_set() and threading.active_count() == before
