"""Turn pairs (CSV/TSV or WebDataset shards) into MindRecord files, or look at any data set before training on it.

    python scripts/prepare_data.py 'shards/{00000..01499}.tar' prepared --workers 16
    python scripts/prepare_data.py pairs.tsv prepared
    python scripts/prepare_data.py prepared --check                        # or shards, or a table

The first two write `prepared/00000.mindrecord`, ... and `prepared/manifest.json` (counts, checksums, what was dropped
and why). Interrupted, the same command resumes with the files that are missing. `--check` reads the data set, names the
first ten bad records, compares checksums if there is a manifest, and draws 32 training samples.
"""

import argparse
import logging
import os
import sys

from tqdm import tqdm

from lightclip_ms.config.schema import AugmentConfig, DataConfig
from lightclip_ms.data.batch import BatchLayout
from lightclip_ms.data.check import contact_sheet, read_all
from lightclip_ms.data.masking import num_slots
from lightclip_ms.data.pairs import open_pairs
from lightclip_ms.data.pipeline import TrainData
from lightclip_ms.data.prepare import MANIFEST, Settings, Share, prepare, verify
from lightclip_ms.data.tokenizer import Tokenizer
from lightclip_ms.runtime.exits import main_guard

SAMPLES = 32


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="CSV/TSV file, tar shards or MindRecord files (patterns in quotes), or a folder")
    parser.add_argument("output", nargs="?", help="folder for the MindRecord files")
    parser.add_argument("--check", action="store_true", help="read the data set instead of writing one")
    parser.add_argument("--format", default="auto", choices=("auto", "csv", "webdataset", "mindrecord"))
    parser.add_argument("--image-key", default="filepath", help="column of the image's path in a table")
    parser.add_argument("--caption-key", default="title", help="column of the caption in a table")
    parser.add_argument("--separator", default="", help="of a table; default: a tab for .tsv, else a comma")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), metavar="N", help="default: one a core")
    parser.add_argument(
        "--part", default="1/1", metavar="K/N", help="write every N-th file only: N machines, one folder"
    )
    parser.add_argument("--pairs-per-file", type=int, default=10_000, metavar="N")
    parser.add_argument("--min-side", type=int, default=Settings.min_side, metavar="PIXELS", help="drop smaller ones")
    check = parser.add_argument_group("with --check")
    check.add_argument("--limit", type=int, default=0, metavar="N", help="read only N pairs, evenly spread")
    check.add_argument("--sheet", default="contact_sheet.png", metavar="PNG", help="where to draw the samples")
    check.add_argument("--image-size", type=int, default=224, metavar="PIXELS", help="side of the samples")
    check.add_argument("--wordnet", default="", metavar="FOLDER", help="WordNet's files, if not in a usual place")
    arguments = parser.parse_args()
    if arguments.workers < 1:
        parser.error("--workers must be 1 or more")
    if not arguments.check and not arguments.output:
        parser.error("name a folder for the MindRecord files, or give --check")
    number, _, of = arguments.part.partition("/")
    if not (number.isdigit() and of.isdigit()):
        parser.error(f"--part is written K/N, for example 3/16, not {arguments.part}")
    arguments.share = Share(int(number), int(of))
    return arguments


def source_arguments(arguments) -> tuple:
    return (arguments.source, arguments.format, arguments.image_key, arguments.caption_key, arguments.separator)


def write_files(arguments) -> None:
    settings = Settings(*source_arguments(arguments), arguments.pairs_per_file, arguments.min_side)
    with tqdm(unit="pair", disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        manifest = prepare(settings, arguments.output, arguments.workers, show, arguments.share)
    if manifest is None:
        print(f"part {arguments.part} is done; the part that ends last writes {MANIFEST}")
        return
    print(f"kept {manifest['pairs']} pairs in {arguments.output} ({MANIFEST} has the checksums)")
    print_dropped(manifest["dropped"], manifest["examples"])
    for reason, count in manifest["mended"].items():
        print(f"mended {count}: {reason}, e.g. {manifest['examples'][reason][0]}")
    print("words a caption:")
    most = max(manifest["caption_words"].values())
    for name, count in manifest["caption_words"].items():
        print(f"  {name:>6} {count:>10}  {'#' * round(40 * count / most)}")


def print_dropped(counts: dict, examples: dict) -> None:
    for reason, count in counts.items():
        print(f"dropped {count}: {reason}, e.g. {examples[reason][0]}")


def check(arguments) -> int:
    source = open_pairs(*source_arguments(arguments))
    total = min(arguments.limit or len(source), len(source))
    log = logging.getLogger("lightclip_ms.data")
    log.setLevel(logging.ERROR)  # what it would say stands below, in order
    with tqdm(total=total, unit="pair", disable=None) as bar:
        report, first = read_all(source, arguments.limit, arguments.workers, bar.update)
    log.setLevel(logging.NOTSET)
    bad = sum(report.counts.values())
    print(f"{len(source)} pairs, {total} read, {bad} bad")
    for line in first:
        print(f"  {line}")
    for line in source.report.lines():
        print(line)
    print_dropped(report.counts, report.examples)
    changed = verify(arguments.source) if os.path.isfile(os.path.join(arguments.source, MANIFEST)) else []
    for line in changed:
        print(line)
    if bad < total:
        draw_samples(arguments, len(source))
    return 1 if bad or changed else 0


def draw_samples(arguments, pairs: int) -> None:
    config = DataConfig(
        train=arguments.source,
        format=arguments.format,
        csv_image_key=arguments.image_key,
        csv_caption_key=arguments.caption_key,
        csv_separator=arguments.separator,
        workers=arguments.workers,
        max_bad_fraction=1.0,
        augment=AugmentConfig(wordnet=arguments.wordnet),
    )
    tokenizer = Tokenizer()
    slots = num_slots(tokenizer.context_length)
    layout = BatchLayout(min(SAMPLES, pairs), arguments.image_size, tokenizer.context_length, slots)
    data = TrainData(config, tokenizer, layout)
    batches = data.epoch(0)
    contact_sheet(next(batches), tokenizer).save(arguments.sheet)
    batches.close()
    print(f"{arguments.sheet}: {min(SAMPLES, pairs)} training samples, each with its text and (in red) its masked text")


@main_guard
def main() -> int:
    arguments = parse_arguments()
    if arguments.check:
        return check(arguments)
    try:
        write_files(arguments)
    except KeyboardInterrupt:
        print("stopped; the same command resumes", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
