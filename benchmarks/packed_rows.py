"""How many rows the packed captions of a batch get, and in how many steps some rank's batch does not fit into them.

python -m benchmarks.packed_rows                        # CC12M's lengths, 512 pairs a rank, 1 to 512 ranks
python -m benchmarks.packed_rows --lengths 'demo_data/train-*.tar' --pairs 64 --context-length 32 --vocab-size 8192
"""

import argparse
import sys

import numpy as np

from benchmarks.batch import LENGTHS_HELP, SAMPLED, STEPS, draw_lengths
from lightclip_ms.data.packing import choose_rows, rows_needed
from lightclip_ms.runtime.exits import main_guard

BATCHES = 2000  # that are drawn to count those that do not fit


@main_guard
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", default="cc12m", help=LENGTHS_HELP)
    parser.add_argument("--pairs", type=int, default=512, help="of a rank (default %(default)s)")
    parser.add_argument("--ranks", type=int, nargs="+", default=(1, 8, 64, 512), help="default %(default)s")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the run (default %(default)s)")
    parser.add_argument("--context-length", type=int, default=77, help="default %(default)s")
    parser.add_argument("--vocab-size", type=int, default=49408, help="of the tokenizer (default %(default)s)")
    options = parser.parse_args()
    pairs, context = options.pairs, options.context_length

    def draw(seed: int, count: int) -> np.ndarray:
        return draw_lengths(options.lengths, context, options.vocab_size, np.random.default_rng(seed), count)

    def waiting(rows: int, ranks: int) -> str:
        """Share of steps in which a batch of some rank does not fit."""
        return f"{100 * (1 - (needed <= rows).mean() ** ranks):.1f} %"

    sample, batches = draw(1, SAMPLED), draw(2, BATCHES * pairs).reshape(BATCHES, pairs)
    needed = np.array([rows_needed(np.tile(batch, 2), context) for batch in batches])
    print(
        f"{pairs} pairs, captions and their masked twins, {sample.mean():.1f} tokens in the mean: they need "
        f"{needed.mean():.1f} rows of {context} in the mean (deviation {needed.std():.1f}) instead of {2 * pairs}"
    )
    print("| ranks | rows | of unpacked ones | steps with a batch that does not fit | with the rows for one rank |")
    print("|---|---|---|---|---|")
    alone = choose_rows(sample, pairs, 2, context, steps=options.steps)
    for ranks in options.ranks:
        rows = choose_rows(sample, pairs, 2, context, steps=options.steps, ranks=ranks)
        print(f"| {ranks} | {rows} | {50 * rows / pairs:.0f} % | {waiting(rows, ranks)} | {waiting(alone, ranks)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
