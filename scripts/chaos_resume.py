"""Kill a training run again and again, and compare what it becomes with a run nobody touched.

scripts/chaos_resume.py [--workers 1 2] [--kills 10] [--plain] [--keep FOLDER] [key=value ...]
scripts/chaos_resume.py --faults

The run reads MindRecord files, accumulates gradients and evaluates after each epoch (--plain: shards, no more). Every
process of the launch command is killed with SIGKILL at a random step, every third time while a checkpoint is being
written, and the same command resumes; every fourth time it is first killed once more while it loads and compiles. A
table tells for each kill which steps the resumed run made and whether their metrics are those of the untouched run. In
the end so must be every evaluation and array of the last checkpoint, bit for bit. Exit code 1 if anything differs.

--faults kills or stops single processes instead (launcher, msrun, scheduler, a worker): a table of what was seen, how
soon everything had ended, and what was lost. Exit code 1 if something was left or lost that need not be.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # benchmarks/ is no part of the package

from benchmarks.chaos_faults import try_faults
from benchmarks.chaos_kills import compare
from benchmarks.chaos_run import everything, write_pairs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="key=value of the runs, for example method=declip")
    parser.add_argument("--faults", action="store_true", help="deaths of single processes instead")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--plain", action="store_true", help="tar shards, no accumulation, no evaluation")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--keep", type=Path, help="keep the runs in this folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        shard = write_pairs(folder / "pairs.tar")
        if arguments.faults:
            return 0 if try_faults(folder, [f"data.train={shard}", *arguments.overrides]) else 1
        overrides = [f"data.train={shard}"] if arguments.plain else everything(shard)
        overrides += arguments.overrides
        rng = random.Random(arguments.seed)
        results = [compare(folder, workers, arguments.kills, overrides, rng) for workers in arguments.workers]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
