"""Images a second of the input pipeline against the same augmentation by Pillow in worker processes, on the same files.

    python scripts/bench_data.py                                # 500x375 photographs made here, 2 workers
    python scripts/bench_data.py --workers 8 --photos 'small/*.tar' --rounds 5
    python scripts/bench_data.py --picture side_by_side.png     # no timing: what both make of the same random numbers
    python scripts/bench_data.py --scaling                      # 1, 2 and 4 threads or processes; Python's lock
    python scripts/bench_data.py --resume                       # how long it takes to skip 90 % of 50,000 pictures

Both sides give whole batches: pictures (uint8), augmented and masked texts. They take turns, so that what else runs on
the machine hits both; the ratio is that of the medians.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.data_pipeline import (
    BATCH,
    PHOTOS,
    SIZE,
    OurPipeline,
    decode_and_resize,
    our_stages,
    pil_stages,
    print_resume,
    print_scaling,
    print_stages,
    print_turns,
    write_photos,
)
from benchmarks.pil_pipeline import PilPipeline
from benchmarks.side_by_side import side_by_side
from lightclip_ms.config.schema import AugmentConfig
from lightclip_ms.data.pairs import open_pairs
from lightclip_ms.runtime.exits import main_guard


@main_guard
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="epochs of 2,000 photographs a side reads")
    parser.add_argument("--photos", default="", metavar="SHARDS", help="small photographs to enlarge, with captions")
    parser.add_argument("--scaling", action="store_true", help="time threads and processes instead, without Pillow")
    parser.add_argument("--cores", type=int, default=24, metavar="N", help="of --scaling's model (default %(default)s)")
    parser.add_argument("--resume", action="store_true", help="time resuming inside an epoch instead")
    parser.add_argument("--picture", metavar="PNG", help="draw the same augmentations by both sides, and time nothing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.resume:
            print_resume(folder, arguments.workers)
            return 0
        path = os.path.join(folder, "photos.tar")
        size = write_photos(path, arguments.photos)
        if arguments.picture:
            source = open_pairs(path)
            sheet, difference = side_by_side([source.read(i).image for i in range(24)], SIZE, AugmentConfig())
            sheet.save(arguments.picture)
            print(f"{arguments.picture}: 24 augmentations by both, mean difference {difference:.1f} of 255")
            return 0
        print(f"{PHOTOS} photographs of 500x375, {size / 1000:.0f} kB on average; batches of {BATCH}")
        if arguments.scaling:
            print_scaling(path, arguments.cores)
            return 0
        ours = OurPipeline(path, arguments.workers)
        pillow = PilPipeline(path, SIZE, BATCH, arguments.workers, AugmentConfig())
        print(f"{arguments.workers} workers")
        turns = {"lightclip_ms": [], "Pillow": []}
        for number in range(arguments.rounds + 1):
            for name, run in (("lightclip_ms", ours.run), ("Pillow", pillow.run)):
                turn = run()
                turns[name] += [turn] if number else []  # the first round starts workers and fills caches
        pillow.close()
        print_turns(turns)
        stages = our_stages(path, 1000)
        print_stages("lightclip_ms", stages)
        total, least = sum(stages.values()), decode_and_resize(path, 1000)
        smooth = stages["decode"] + stages["crop and resize"]
        for what, alone in (("plain bilinear resizing", least), ("resizing without aliasing", smooth)):
            print(
                f"  decoding and {what} alone take {alone:.2f} ms, all else {100 * (total / alone - 1):.0f} % of that"
            )
        print_stages("Pillow", pil_stages(path, 300))
    return 0


if __name__ == "__main__":
    sys.exit(main())
