#!/usr/bin/env python3
"""Feed hostile inputs of one kind to the code that reads them, and count how each ended.

Every input must be accepted or refused with one line, within a second and four gigabytes. Exit code 1 if one was slow
or escaped; --first N --count 1 runs that input again.
"""

import argparse
import os
import resource
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the generators are in tests/, not in the package

from tests.fuzz.kinds import KINDS
from tests.fuzz.runner import OUTCOMES, run

MEMORY = 4 << 30  # bytes beyond what the program itself has mapped


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--seconds", type=float, help="stop after this time")
    parser.add_argument("--count", type=int, help="stop after this many inputs (default: 10,000 without --seconds)")
    parser.add_argument("--seed", type=int, default=0, help="other inputs (default %(default)s)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first input (default 0)")
    args = parser.parse_args()
    count = args.count if args.count or args.seconds else 10_000

    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        counts, found = run(args.kind, count, args.seconds, args.seed, args.first)
    for line in found:
        print(line)
    print(f"{args.kind}: " + ", ".join(f"{name} {counts[name]}" for name in OUTCOMES))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    return 1 if counts["slow"] or counts["escaped"] else 0


if __name__ == "__main__":
    sys.exit(main())
