#!/usr/bin/env python3
"""k-nearest-neighbour and linear-probe accuracy of a checkpoint's frozen image embeddings.

Either --set NAME --data-root ROOT, one of the paper's classification sets with its official splits, or --train DATA
and --test DATA, each a folder of class folders (class/*.jpg) or a pattern of WebDataset shards with .cls. Without
--test a fifth of each class is tested. Under msrun the ranks share the embedding and the result is the same.
"""

import argparse

from lightclip_ms.eval import command, probe
from lightclip_ms.eval.sets import classification
from lightclip_ms.eval.sets.labelled import open_labelled
from lightclip_ms.eval.sets.prompts import built_in
from lightclip_ms.runtime import files
from lightclip_ms.runtime.exits import main_guard

NAMES = {"knn": "k nearest neighbours", "linear": "linear probe"}


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_checkpoint_option(parser)
    command.add_run_options(parser)
    parser.add_argument("--set", choices=classification.READERS, help="a classification set of the paper")
    parser.add_argument("--data-root", help="folder that holds the set's folder (with --set)")
    parser.add_argument("--train", help="labelled training images: a folder, or a pattern such as 'DIR/{0..3}.tar'")
    parser.add_argument("--test", help="labelled test images of the same classes (default: a fifth of --train)")
    parser.add_argument("--seed", type=int, default=0, help="of the held-out images (default %(default)s)")
    parser.add_argument("--json", help="also write the results to this file")
    args = parser.parse_args()
    command.make_room(args.json)

    train, test = _open(args)
    embedder = command.open_embedder(args.checkpoint, args)
    results = probe.evaluate_probe(embedder, train, test, args.seed)
    if not embedder.is_first:
        return
    for name, result in results.items():
        chosen = f"k = {result['neighbours']}" if name == "knn" else f"C = {result['C']:.3g}"
        print(
            f"{NAMES[name]} ({chosen}): top-1 {result['top1']:.2f} %   top-5 {result['top5']:.2f} %   "
            f"mean per class {result['mean_per_class']:.2f} %   (chance {result['chance_top1']:.2f} %; "
            f"{result['images']} images, {result['training_images']} to train, {result['classes']} classes; "
            f"{result['validation_top1']:.2f} % on held-out training images)"
        )
    for line in dict.fromkeys((*train.report.lines(), *test.report.lines())):  # the same for two parts of one set
        print(line)
    if results["knn"]["skipped"]:
        print(f"skipped: {results['knn']['skipped']}")
    if args.json:
        data = {"data": args.set or args.train, "test": args.test, **results}
        files.write_json(args.json, {**data, **command.provenance(embedder)})


def _open(args: argparse.Namespace):
    """(train, test), before the checkpoint is loaded."""
    if bool(args.set) == bool(args.train) or bool(args.set) != bool(args.data_root) or (args.set and args.test):
        raise ValueError("give either --set and --data-root, or --train and perhaps --test")
    if args.set:
        folder = classification.locate(args.set, args.data_root)
        if folder is None:
            raise FileNotFoundError(f"{args.data_root}: {args.set} is not there; put {built_in()[args.set]['where']}")
        return tuple(classification.open_set(args.set, folder, split)[0] for split in ("train", "test"))
    train = open_labelled(args.train)
    return (train, open_labelled(args.test)) if args.test else probe.split_in_two(train, seed=args.seed)


if __name__ == "__main__":
    main()
