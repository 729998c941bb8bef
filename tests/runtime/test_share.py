"""Rank 0's arrays on 2 and on 3 ranks, bit for bit."""

from pathlib import Path

import numpy as np
import pytest

from lightclip_ms.runtime.share import share_from_first
from tests.runtime import share_worker
from tests.train.test_distributed import msrun


@pytest.mark.parametrize("workers", [2, 3])
def test_every_rank_gets_the_arrays_of_the_first(tmp_path, workers):
    msrun(Path(share_worker.__file__), str(tmp_path), log_dir=tmp_path / "logs", workers=workers)
    expected = share_worker.arrays_of(0)
    for rank in range(workers):
        found = np.load(tmp_path / f"rank_{rank}.npz")
        assert sorted(found.files) == sorted(expected)
        for name, array in expected.items():
            assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
            assert found[name].tobytes() == array.tobytes(), name


def test_one_rank_keeps_its_own():
    arrays = {"a": np.ones(2)}
    assert share_from_first(arrays, "x", 0, 1) == (arrays, "x")
