"""Zero-shot classification of a labelled image set by any checkpoint: top-1, top-5 and mean per class.

--data is a folder of class folders (class/*.jpg) or a pattern of WebDataset shards with .cls. Under msrun the cards
share the work and the result is the same.
"""

import argparse

from lightclip_ms.eval import command
from lightclip_ms.eval.run import evaluate_zeroshot
from lightclip_ms.eval.sets import prompts
from lightclip_ms.eval.sets.class_order import describe_classes, match_classes
from lightclip_ms.eval.sets.labelled import open_labelled
from lightclip_ms.runtime import files
from lightclip_ms.runtime.exits import main_guard


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_checkpoint_option(parser)
    command.add_run_options(parser)
    parser.add_argument("--data", required=True, help="folder, or shards: a pattern such as 'DIR/{00000..00003}.tar'")
    parser.add_argument(
        "--classnames",
        help="names, one a line (or 'folder<TAB>name', 'n01440764 tench'), a YAML file, or a built-in set "
        f"({', '.join(prompts.built_in())}); default: the class folders' names",
    )
    parser.add_argument(
        "--templates",
        default="plain",
        help="prompts with {} for the name: text or YAML file, or a built-in set (default %(default)s)",
    )
    parser.add_argument("--json", help="also write the result to this file")
    args = parser.parse_args()
    command.make_room(args.json)

    dataset = open_labelled(args.data)
    names = match_classes(dataset, prompts.load_class_names(args.classnames) if args.classnames else None)
    templates = prompts.load_templates(args.templates)
    embedder = command.open_embedder(args.checkpoint, args)
    result = evaluate_zeroshot(embedder, dataset, names, templates)
    if not embedder.is_first:
        return
    print(
        f"top-1 {result['top1']:.2f} %   top-5 {result['top5']:.2f} %   "
        f"mean per class {result['mean_per_class']:.2f} %   (chance {result['chance_top1']:.2f} %; "
        f"{result['images']} images, {result['classes']} classes, {result['templates']} templates; "
        f"{command.speeds(result)})"
    )
    print(describe_classes(result["class_names"]))
    command.print_left_out(dataset, result["skipped"])
    if args.json:
        details = command.left_out(dataset)
        files.write_json(args.json, {"data": args.data, **result, **details, **command.provenance(embedder)})
