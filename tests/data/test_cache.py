"""Tables in the cache, and tables that several ranks build together: each once, whatever the ranks' caches hold."""

import os
import threading

import numpy as np
import pytest

from lightclip_ms.data.cache import cached_tables
from lightclip_ms.runtime.peers import Peers


def on_ranks(count, work):
    """`work(peers)` of `count` ranks at the same time, as threads: results or exceptions in rank order."""
    barrier, sent, results = threading.Barrier(count), [b""] * count, [None] * count

    def run(rank):
        def exchange(data):
            sent[rank] = data
            barrier.wait(10)
            everything = list(sent)
            barrier.wait(10)
            return everything

        try:
            results[rank] = work(Peers(rank, count, exchange))
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    paths = [tmp_path / f"{number}.tar" for number in range(7)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes(100 + number))
    return [[str(path)] for path in paths]


def table(number):
    return {"values": np.arange(number * 3), "name": np.frombuffer(b"shard %d" % number, np.uint8)}


def same(found):
    assert len(found) == 7
    for number, arrays in enumerate(found):
        assert arrays.keys() == table(number).keys()
        for name, values in table(number).items():
            np.testing.assert_array_equal(arrays[name], values)


@pytest.mark.parametrize("ranks", [1, 2, 3, 9])
@pytest.mark.parametrize("least", [0, 1000], ids=["cached", "too small for the cache"])
def test_every_table_is_built_by_one_rank(files, ranks, least):
    built = []

    def open_them(peers):
        def build(number):
            built.append((peers.rank, number))
            return table(number)

        return cached_tables("kind", files, build, least, peers)

    for found in on_ranks(ranks, open_them):
        same(found)
    assert sorted(number for _, number in built) == list(range(7))
    shares = np.bincount([rank for rank, _ in built], minlength=ranks)
    assert shares.max() - shares.min() <= 1
    built.clear()
    for found in on_ranks(ranks, open_them):
        same(found)
    assert len(built) == (0 if least == 0 else 7)


def test_what_one_rank_has_in_its_cache_nobody_builds(files):
    cached_tables("kind", files[2:4], lambda i: table(i + 2), 0)
    entries = os.path.join(os.environ["XDG_CACHE_HOME"], "lightclip_ms", "kind")
    for name in sorted(os.listdir(entries))[:1]:
        with open(os.path.join(entries, name), "r+b") as file:
            file.truncate(20)  # damaged: built again
    built = []
    for found in on_ranks(
        2, lambda peers: cached_tables("kind", files, lambda i: built.append(i) or table(i), 0, peers)
    ):
        same(found)
    assert len(built) == 6 and len(set(built) & {2, 3}) == 1


def test_ranks_with_different_files_are_told_so(files):
    found = on_ranks(3, lambda peers: cached_tables("kind", files[: 7 - (peers.rank == 2)], table, 0, peers))
    assert len({str(error) for error in found}) == 1
    assert "ranks 0 and 2 see different files" in str(found[0]) and "7 and 6" in str(found[0])
