"""Work that all ranks do before training: they wait for each other however long it takes, and fail together.

In a collective of the CPU backend a rank waits 30 s for the others. So the work runs in a thread, and meanwhile the
ranks meet once a second to tell each other how far they are.
"""

import queue
import threading
from collections.abc import Callable

import mindspore as ms
import numpy as np

from lightclip_ms.runtime import parallel
from lightclip_ms.runtime.peers import Peers

_MEET_SECONDS = 1.0
_GATHERED_BYTES = 64 << 20  # of all ranks at once
_AT_WORK, _EXCHANGES, _IS_DONE, _HAS_FAILED = range(4)


def run_together(work: Callable[[Peers], object], rank: int, world_size: int):
    """`work(peers)`, which may exchange bytes with the other ranks, on every rank.

    Returns:
        what it returned here, when it has ended on all ranks.

    Raises:
        whatever it raised here; OSError with the same text if it raised on another rank.
        RuntimeError: the ranks did not exchange equally often.
    """
    if world_size == 1:
        return work(Peers())
    news, answers = queue.SimpleQueue(), queue.SimpleQueue()

    def exchange(data: bytes) -> list[bytes]:
        news.put((_EXCHANGES, data))
        return answers.get()

    def run() -> None:
        try:
            news.put((_IS_DONE, work(Peers(rank, world_size, exchange))))
        except BaseException as error:
            news.put((_HAS_FAILED, error))

    threading.Thread(target=run, name="lightclip-together", daemon=True).start()
    gather, state, value = parallel.make_gather(rank, world_size), _AT_WORK, None
    while True:
        if state == _AT_WORK:
            try:
                state, value = news.get(timeout=_MEET_SECONDS)
            except queue.Empty:
                pass
        states = gather(ms.Tensor([[state]], ms.float32)).asnumpy()[:, 0].astype(int).tolist()
        if _HAS_FAILED in states:
            texts = _gather_bytes(gather, _text(value, rank) if state == _HAS_FAILED else b"")
            if state == _HAS_FAILED:
                raise value
            raise OSError(texts[states.index(_HAS_FAILED)].decode())
        if _AT_WORK in states:
            continue
        if len(set(states)) > 1:
            raise RuntimeError(f"some ranks are done while others wait for them: {states}")
        if state == _IS_DONE:
            return value
        answers.put(_gather_bytes(gather, value))
        state, value = _AT_WORK, None


def _text(error: BaseException, rank: int) -> bytes:
    """What the other ranks say about an error: its own line if that is made for users."""
    is_plain = isinstance(error, (ValueError, OSError))
    text = str(error) if is_plain else f"rank {rank} failed: {type(error).__name__}: {error}"
    return text.encode("utf-8", "backslashreplace")


def _gather_bytes(gather, data: bytes) -> list[bytes]:
    """The bytes of every rank, in rank order."""
    low = len(data) % (1 << 24)  # float32 counts so far
    sizes = gather(ms.Tensor([[low, len(data) >> 24]], ms.float32)).asnumpy().astype(np.int64) @ [1, 1 << 24]
    # Words of 32 bits, as every back end has a kernel for them; one size, so that one graph is compiled.
    words = min(_GATHERED_BYTES // len(sizes), int(sizes.max()) + 3) // 4
    parts = [bytearray() for _ in sizes]
    for start in range(0, int(sizes.max()), 4 * words or 1):
        piece = data[start : start + 4 * words].ljust(4 * words, b"\0")
        rows = gather(ms.Tensor(np.frombuffer(piece, np.int32)[None])).asnumpy()
        for part, row in zip(parts, rows):
            part += row.tobytes()
    return [bytes(part[:size]) for part, size in zip(parts, sizes.tolist())]
