"""Image-text retrieval by any checkpoint: recall at 1, 5 and 10 in both directions.

--data is a pattern of WebDataset shards (image + .txt), a CSV/TSV table (rows that name the same image are its
captions), or a captions JSON file as Karpathy's splits or COCO's own, with --images. Ties count against the model.
Under msrun the cards share the work and the result is the same.
"""

import argparse
from pathlib import Path

from lightclip_ms.eval import command
from lightclip_ms.eval.retrieval import KS
from lightclip_ms.eval.run import embed_captions, score_retrieval
from lightclip_ms.eval.sets.captioned import open_captions
from lightclip_ms.eval.sets.retrieval import open_captions_json
from lightclip_ms.runtime import files
from lightclip_ms.runtime.exits import main_guard


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_checkpoint_option(parser)
    command.add_run_options(parser)
    parser.add_argument(
        "--data", required=True, help="shards ('DIR/val.tar', 'DIR/{0..3}.tar'), table.csv or captions.json"
    )
    parser.add_argument("--image-key", default="filepath", help="image column of a table (default %(default)s)")
    parser.add_argument("--caption-key", default="title", help="caption column of a table (default %(default)s)")
    parser.add_argument("--separator", default="", help="of a table; default: a tab for .tsv, else a comma")
    parser.add_argument("--images", help="folder of a JSON file's images (default: the file's own)")
    parser.add_argument("--split", default="test", help="split of a Karpathy JSON file (default %(default)s)")
    parser.add_argument("--json", help="also write the result to this file")
    args = parser.parse_args()
    command.make_room(args.json)

    if args.data.lower().endswith(".json"):
        dataset = open_captions_json(args.data, [Path(args.images or Path(args.data).parent)], args.split)
    else:
        dataset = open_captions(args.data, args.image_key, args.caption_key, args.separator)
    embedder = command.open_embedder(args.checkpoint, args)
    result = score_retrieval(embed_captions(embedder, dataset))
    if not embedder.is_first:
        return
    for direction in ("image_to_text", "text_to_image"):
        recalls = "   ".join(f"R@{k} {result[f'{direction}_R@{k}']:.2f} %" for k in KS)
        print(f"{direction.replace('_', ' ')}   {recalls}")
    chances = "   ".join(f"R@{k} {result[f'chance_R@{k}']:.2f} %" for k in KS)
    print(
        f"chance          {chances}   ({result['images']} images, {result['captions']} captions; "
        f"{command.speeds(result)})"
    )
    command.print_left_out(dataset, result["skipped"])
    if args.json:
        left_out = command.left_out(dataset)
        files.write_json(args.json, {"data": args.data, **result, **left_out, **command.provenance(embedder)})
