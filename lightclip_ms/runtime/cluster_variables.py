"""Cluster variables of MindSpore that are left in the environment, as Kubernetes jobs set them, and belong to no job.

MindSpore joins a cluster when `MS_ROLE` is set, and waits for it in silence. Only `msrun` sets these variables for a
process of this package, so without it above the process they are leftovers.
"""

import os
import sys

NAMES = (
    "MS_ROLE",
    "MS_WORKER_NUM",
    "MS_SERVER_NUM",
    "MS_SCHED_HOST",
    "MS_SCHED_PORT",
    "MS_NODE_ID",
    "MS_TOPO_TIMEOUT",
    "MS_ENABLE_RECOVERY",
    "RANK_ID",
    "RANK_SIZE",
    "RANK_TABLE_FILE",
)


def started_by_msrun() -> bool:
    """Whether one of the processes above this one is `msrun`."""
    import psutil  # only needed where such a variable is set

    for process in psutil.Process().parents():
        try:
            words = process.cmdline()
        except psutil.Error:  # ended meanwhile, or somebody else's
            continue
        if any(os.path.basename(word) == "msrun" for word in words[:3]):
            return True
    return False


def drop_leftovers(environ=os.environ) -> list[str]:
    """Remove the cluster variables from `environ` unless `msrun` set them; says which on stderr, and returns them."""
    found = [name for name in NAMES if name in environ]
    if not found or started_by_msrun():
        return []
    for name in found:
        del environ[name]
    print(
        f"ignoring {', '.join(found)} of the environment: no msrun started this process, so it is no part of a cluster "
        "(several processes: --devices or NNODES, see scripts/run_distribute.sh --help)",
        file=sys.stderr,
        flush=True,
    )
    return found
