"""A process that only meets the other ranks: `python -m lightclip_ms.runtime.meet DEVICE`, for `commands.doctor`."""

import sys
import time

from lightclip_ms.runtime import backend, parallel


def main(device: str) -> None:
    """Join the job, add up the ranks in one collective, print what came out. Raises RuntimeError for a wrong sum."""
    target = backend.prepare_device(device)
    began = time.monotonic()
    rank, world_size = parallel.init()
    joined = time.monotonic()
    ranks = parallel.gather_number(rank, world_size)
    if ranks != list(range(world_size)):
        raise RuntimeError(f"rank {rank} got {ranks} from {world_size} ranks")
    if rank == 0:
        print(
            f"{world_size} rank(s) on {target} met: joined in {joined - began:.1f} s, collective "
            f"{time.monotonic() - joined:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1])
