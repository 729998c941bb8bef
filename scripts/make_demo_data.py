#!/usr/bin/env python3
"""Build the demo data: OpenMoji drawings in small composed pictures with captions, as WebDataset shards.

Written: train-*.tar and val.tar (seen emojis, disjoint compositions), unseen.tar (emojis never in training),
names.tar, unseen_names.tar, compounds.tar (never in training either, but every word of their names is) and colours.tar
(labelled, with .txt class names and _templates.txt prompts).
A folder that is already complete is left as it is.
"""

import argparse
import time

from lightclip_ms.demo.build import Settings, build_demo_data
from lightclip_ms.runtime.exits import main_guard


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--train", type=int, default=Settings.train, help="training samples (default %(default)s)")
    parser.add_argument(
        "--retrieval",
        type=int,
        default=Settings.retrieval,
        help="samples in val.tar and in unseen.tar (default %(default)s)",
    )
    parser.add_argument(
        "--things",
        type=int,
        default=Settings.things,
        help="how many of the listed emojis are used; never-seen ones stay the same (default: all %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=Settings.seed, help="default %(default)s")
    parser.add_argument("--workers", type=int, default=2, help="processes (default %(default)s)")
    args = parser.parse_args()
    start = time.monotonic()
    written = build_demo_data(args.out, Settings(args.train, args.retrieval, args.seed, args.things), args.workers)
    print(f"{args.out}: written in {time.monotonic() - start:.0f} s" if written else f"{args.out}: already complete")


if __name__ == "__main__":
    main()
