#!/usr/bin/env python3
"""What the number of things in the demo's data does to known and never-seen ones: a plot and a table of several runs.

Each run was trained on data of scripts/make_demo_data.py with another --things and reported by scripts/demo_report.py.
"""

import argparse

from lightclip_ms.eval import command
from lightclip_ms.figures import png
from lightclip_ms.figures.generalisation import generalisation_figure, read_point, to_markdown
from lightclip_ms.runtime.exits import main_guard


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", help="report.json files, or the folders they are in")
    parser.add_argument("--out", required=True, help="PNG file to write")
    args = parser.parse_args()
    command.make_room(args.out)
    points = sorted((read_point(path) for path in args.reports), key=lambda point: point.things)
    png.save_figure(generalisation_figure(points), args.out)
    print(to_markdown(points))
    print(args.out)


if __name__ == "__main__":
    main()
