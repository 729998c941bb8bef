"""A worker under `msrun` (see test_share.py): what every rank got from rank 0, as `OUT/rank_R.npz`.

And what the ranks did together, as `OUT/rank_R.json`.
"""

import json
import os
import sys
import time

import numpy as np

from lightclip_ms.data import tar_index
from lightclip_ms.data.pairs import open_pairs
from lightclip_ms.runtime import backend, parallel, share, together


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


def open_together(out: str, rank: int, world_size: int) -> dict:
    """Which shards of `OUT/shards` this rank scanned, and the keys it found; the ranks' caches are not shared."""
    os.environ["XDG_CACHE_HOME"] = f"{out}/cache_{rank}"
    tar_index._CACHED_FROM = 0
    scan, scanned = tar_index._scan, []
    tar_index._scan = lambda path: scanned.append(os.path.basename(path)) or scan(path)
    source = together.run_together(lambda peers: open_pairs(f"{out}/shards", peers=peers), rank, world_size)
    keys = [source.key(i).rpartition(" ")[2] for i in range(len(source))]
    return {"scanned": scanned, "keys": keys, "bad": dict(source.report.counts)}


def fail_together(rank: int, world_size: int) -> str:
    """What this rank is told when another one fails while the others wait for its bytes."""

    def work(peers):
        if rank == world_size - 1:
            time.sleep(2.5)  # the others meet meanwhile
            raise ValueError("shards/7.tar: not a tar file")
        return peers.exchange(b"never answered")

    try:
        together.run_together(work, rank, world_size)
    except (ValueError, OSError) as error:
        return str(error)


def main(out: str) -> None:
    backend.prepare_device("cpu")
    rank, world_size = parallel.init()
    share.CHUNK_BYTES = 256  # several chunks, arrays that span them
    own = arrays_of(rank)
    arrays, about = share.share_from_first(own if rank == 0 else None, {"step": rank + 5}, rank, world_size)
    nothing, told = share.share_from_first(None, ["no checkpoint"], rank, world_size)
    assert nothing is None and told == ["no checkpoint"] and about == {"step": 5}
    np.savez(f"{out}/rank_{rank}.npz", **arrays)
    together._GATHERED_BYTES = 1 << 16  # several transfers
    sizes = together.run_together(
        lambda peers: [len(part) for part in peers.exchange(bytes(100_000 * peers.rank + 3))], rank, world_size
    )
    found = {
        "sizes": sizes,
        "opened": open_together(out, rank, world_size),
        "again": open_together(out, rank, world_size),
        "failed": fail_together(rank, world_size),
    }
    with open(f"{out}/rank_{rank}.json", "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(sys.argv[1])
