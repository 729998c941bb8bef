"""A worker under `msrun` (see test_share.py): what every rank got from rank 0, as `OUT/rank_R.npz`."""

import sys

import numpy as np

from lightclip_ms.runtime import backend, parallel, share


def arrays_of(rank: int) -> dict[str, np.ndarray]:
    """Arrays of several dtypes and shapes, other values on every rank; NaN with a payload, which a sum would change."""
    rng = np.random.default_rng(rank)
    return {
        "matrix": rng.standard_normal((37, 11)).astype(np.float32),
        "bits": np.array([0x7FC01234, 0xFFFFFFFF], np.uint32).view(np.float32),
        "half": rng.standard_normal(5).astype(np.float16),
        "counter": np.array(rank + 7, np.int64),
        "empty": np.zeros((0, 3), np.float32),
        "flags": rng.random(9) > 0.5,
    }


def main(out: str) -> None:
    backend.prepare_device("cpu")
    rank, world_size = parallel.init()
    share.CHUNK_BYTES = 256  # several chunks, arrays that span them
    own = arrays_of(rank)
    arrays, about = share.share_from_first(own if rank == 0 else None, {"step": rank + 5}, rank, world_size)
    nothing, told = share.share_from_first(None, ["no checkpoint"], rank, world_size)
    assert nothing is None and told == ["no checkpoint"] and about == {"step": 5}
    np.savez(f"{out}/rank_{rank}.npz", **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
