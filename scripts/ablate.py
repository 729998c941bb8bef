#!/usr/bin/env python3
"""Run a grid of training runs and compare them: scripts/ablate.py configs/grids/table4_demo.yaml --out runs/table4

Each cell of the grid (row x encoder x seed) is a run folder in --out. The table (report.md, report.csv, report.json,
report.png) is written anew after each cell. The same command continues a grid that was stopped. See docs/ablation.md.
"""

import argparse
import os
import signal
import sys

from lightclip_ms.ablation import run, table
from lightclip_ms.ablation.grid import read_grid
from lightclip_ms.runtime.exits import EXIT_STOPPED, main_guard
from lightclip_ms.runtime.files import write_json, write_text


@main_guard
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", help="YAML file, for example of configs/grids/")
    parser.add_argument("--out", required=True, help="folder of the runs and the report")
    parser.add_argument("--test", default="", help="test data instead of the grid's")
    parser.add_argument("--devices", type=int, default=1, help="processes of one training run (default %(default)s)")
    parser.add_argument("--parallel", type=int, default=1, help="cells side by side (default %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="only print the cells and an estimate of the time")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for every cell, for example data.train=...")
    args = parser.parse_intermixed_args()  # key=value anywhere
    for name in ("devices", "parallel"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name}: use at least 1")
    grid = read_grid(args.grid, tuple(args.overrides), args.test)
    results = run.read_results(grid, args.out)
    for cell in grid.cells():
        state = f"{results[cell.folder]['value']:.2f} %" if cell.folder in results else "to do"
        print(f"{cell.folder}: {state}: {' '.join(cell.overrides)}")
    minutes = run.estimate_minutes(grid, results, args.parallel)
    source = "as the finished ones" if results else f"as the grid says ({grid.minutes:g} minutes a cell)"
    print(f"{len(results)} of {len(grid.cells())} cells are finished")
    print(f"the others take about {minutes:.0f} minutes, {source}")
    if args.dry_run:
        return 0

    def report(results: dict[str, dict]) -> None:
        _write_report(grid, results, args.out)
        print(f"{len(results)} of {len(grid.cells())} cells: {os.path.join(args.out, 'report.md')}", flush=True)

    if results:
        report(results)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        run.Runner(grid, args.out, args.devices, args.parallel).run(report)
    except run.CellFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command continues from the last checkpoint of each cell", flush=True)
        return EXIT_STOPPED
    return 0


def _write_report(grid, results: dict[str, dict], out: str) -> None:
    from lightclip_ms.ablation.plot import comparison_figure  # Matplotlib is slow to load
    from lightclip_ms.figures.png import save_figure

    summary = table.summarize(grid, results)
    write_text(os.path.join(out, "report.md"), table.to_markdown(grid, summary, len(grid.cells())))
    write_text(os.path.join(out, "report.csv"), table.to_csv(summary))
    write_json(os.path.join(out, "report.json"), {"title": grid.title, "test": grid.test, "results": summary})
    save_figure(comparison_figure(summary, grid.baseline), os.path.join(out, "report.png"))


if __name__ == "__main__":
    sys.exit(main())
