#!/usr/bin/env python3
"""Evaluate a demo run: print one result table with chance levels, write report.json and two pictures.

Written into --out (default: the run's folder): report.json, loss_curves.png and retrieved_examples.png.
"""

import argparse
import os

from lightclip_ms.config.file import from_dict
from lightclip_ms.config.loss import active
from lightclip_ms.demo import report as demo_report
from lightclip_ms.eval import command
from lightclip_ms.figures import curves, pictures, png
from lightclip_ms.model.weights import read_header
from lightclip_ms.runtime import files
from lightclip_ms.runtime.exits import main_guard


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="folder of the training run")
    parser.add_argument("--data", required=True, help="folder that make_demo_data.py wrote")
    parser.add_argument("--out", help="folder for what is written (default: the run's)")
    command.add_run_options(parser)
    args = parser.parse_args()
    out = args.out or args.run

    records = curves.read_metrics(os.path.join(args.run, "metrics.jsonl"))
    terms = active(from_dict(read_header(command.find_checkpoint(args.run))["config"]).loss)
    embedder = command.open_embedder(args.run, args)
    results, rows = demo_report.evaluate_demo(embedder, args.data)
    if not embedder.is_first:
        return
    os.makedirs(out, exist_ok=True)
    files.write_json(os.path.join(out, "report.json"), {"results": results, **command.provenance(embedder)})
    png.save_figure(curves.loss_curves(records, terms), os.path.join(out, "loss_curves.png"))
    png.save_figure(pictures.retrieved_examples(rows), os.path.join(out, "retrieved_examples.png"))
    print(demo_report.format_table(results))
    for name in ("loss_curves.png", "retrieved_examples.png", "report.json"):
        print(os.path.join(out, name))


if __name__ == "__main__":
    main()
