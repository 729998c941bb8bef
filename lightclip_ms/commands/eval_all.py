"""The paper's Tables 1 to 3 for one checkpoint: every data set found under --data-root.

Writes report.md, report.json and report.csv into --out after each set, beside the paper's numbers for the same image
encoder. Data sets that are absent are listed with where to put them. Under msrun the ranks share the work; the result
is the same.
"""

import argparse
import os

from lightclip_ms.eval import command, suite, tables
from lightclip_ms.runtime import files
from lightclip_ms.runtime.exits import main_guard


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_checkpoint_option(parser)
    command.add_run_options(parser)
    parser.add_argument("--data-root", required=True, help="folder that holds the data sets' folders")
    parser.add_argument("--out", required=True, help="folder for the report")
    known = [*suite.CLASSIFICATION, *suite.RETRIEVAL]
    parser.add_argument(
        "--sets", nargs="+", default=known, metavar="SET", help=f"some of: {' '.join(known)} (default all)"
    )
    parser.add_argument("--templates", nargs="+", default=[], metavar="SET=FILE", help="prompts instead of a set's own")
    args = parser.parse_args()

    for entry in args.templates:
        if "=" not in entry:
            raise ValueError(f"--templates: expected SET=FILE, got {entry!r}")
    templates = dict(entry.partition("=")[::2] for entry in args.templates)
    opened = suite.plan(args.data_root, args.sets, templates)
    os.makedirs(args.out, exist_ok=True)
    embedder = command.open_embedder(args.checkpoint, args)
    how = command.provenance(embedder)
    encoder = embedder.towers.encoder
    for results in suite.run(embedder, opened):
        if not embedder.is_first:
            continue
        report = tables.to_markdown(results, encoder, opened.absent, how)
        files.write_text(os.path.join(args.out, "report.md"), report)
        files.write_text(os.path.join(args.out, "report.csv"), tables.to_csv(results, encoder))
        files.write_json(
            os.path.join(args.out, "report.json"),
            {"results": results, "tables": tables.tables(results, encoder), "absent": opened.absent, **how},
        )
    if embedder.is_first:
        print(report)
