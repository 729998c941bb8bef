"""Rank 0's arrays on 2 and on 3 ranks, bit for bit; and work that ranks do, and fail in, together."""

import json
from pathlib import Path

import numpy as np
import pytest

from lightclip_ms.runtime.share import share_from_first
from tests.data.data_files import write_tar
from tests.runtime import share_worker
from tests.train.test_distributed import msrun


@pytest.mark.parametrize("workers", [2, 3])
def test_every_rank_gets_the_arrays_of_the_first(tmp_path, workers):
    (tmp_path / "shards").mkdir()
    for shard in range(5):
        members = [(f"{shard}{i}.{ending}", b"x") for i in range(shard) for ending in ("jpg", "txt")]
        write_tar(tmp_path / "shards" / f"{shard}.tar", [*members, (f"{shard}.jpg", b"alone")])
    msrun(Path(share_worker.__file__), str(tmp_path), log_dir=tmp_path / "logs", workers=workers)
    expected = share_worker.arrays_of(0)
    for rank in range(workers):
        found = np.load(tmp_path / f"rank_{rank}.npz")
        assert sorted(found.files) == sorted(expected)
        for name, array in expected.items():
            assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
            assert found[name].tobytes() == array.tobytes(), name
    ranks = [json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in range(workers)]
    assert sorted(sum((found["opened"]["scanned"] for found in ranks), [])) == [f"{shard}.tar" for shard in range(5)]
    for found in ranks:
        assert len(found["opened"]["scanned"]) in (5 // workers, 5 // workers + 1) and found["again"]["scanned"] == []
        assert found["sizes"] == [100_000 * rank + 3 for rank in range(workers)]
        assert found["opened"]["keys"] == found["again"]["keys"] == [f"{s}{i}" for s in range(5) for i in range(s)]
        assert found["opened"]["bad"] == found["again"]["bad"] == {"image without a text": 5}
        assert found["failed"] == "shards/7.tar: not a tar file"


def test_one_rank_keeps_its_own():
    arrays = {"a": np.ones(2)}
    assert share_from_first(arrays, "x", 0, 1) == (arrays, "x")
