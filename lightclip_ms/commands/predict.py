"""Ask a model about pictures: which of --texts fits each, which pictures fit --retrieve, or just their --embeddings.

Pictures are files or folders. Works from a training checkpoint, an exported model or a run's folder.

  predict.py --checkpoint model.safetensors cat.jpg --texts "a cat" "a dog"
  predict.py --checkpoint model.safetensors holiday/ --retrieve "a boat on a lake" --out found.png
"""

import argparse
import json

import numpy as np

from lightclip_ms.eval import command, similarity
from lightclip_ms.eval.sets import prompts
from lightclip_ms.eval.sets.class_order import plain_names
from lightclip_ms.eval.sets.images import open_images
from lightclip_ms.eval.text_cache import embed_prompts
from lightclip_ms.eval.zeroshot import build_classifier, build_prompts
from lightclip_ms.figures import pictures, png
from lightclip_ms.runtime.exits import main_guard


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_checkpoint_option(parser)
    parser.add_argument("pictures", nargs="+", help="image files and folders")
    parser.add_argument("--texts", nargs="+", help="texts to choose from; prints their probabilities")
    parser.add_argument(
        "--classnames",
        help="class names to choose from instead of --texts, as in eval_zeroshot.py; prints the --count best",
    )
    parser.add_argument(
        "--templates", default="plain", help="prompts for --classnames, as in eval_zeroshot.py (default %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the probabilities as JSON")
    parser.add_argument("--retrieve", metavar="QUERY", help="show the pictures that fit this text best")
    parser.add_argument(
        "--count", type=int, default=5, help="pictures to retrieve, or names to print (default %(default)s)"
    )
    parser.add_argument("--out", default="retrieved.png", help="PNG file for --retrieve (default %(default)s)")
    parser.add_argument("--embeddings", metavar="NPY", help="write the pictures' normalised embeddings [N, E] here")
    command.add_run_options(parser)
    args = parser.parse_args()
    queries = [] if args.retrieve is None else [args.retrieve]
    if args.texts and args.classnames:
        raise ValueError("give --texts or --classnames, not both")
    if not (args.texts or args.classnames or queries or args.embeddings):
        raise ValueError("nothing to do: give --texts, --classnames, --retrieve or --embeddings")
    similarity.require_words([*(args.texts or ()), *queries])
    command.make_room(args.embeddings)
    command.make_room(args.out)

    classes = plain_names(prompts.load_class_names(args.classnames)) if args.classnames else []
    templates = prompts.load_templates(args.templates) if classes else []
    images = open_images(args.pictures)
    embedder = command.open_embedder(args.checkpoint, args)
    embedded = embedder.images(images)
    names = [images.key(int(index)) for index in embedded.kept]
    if args.texts:
        print(
            _table(
                names,
                args.texts,
                similarity.probabilities(embedded.features, embedder.texts(args.texts).features, embedder.towers.scale),
                args.json,
            )
        )
    if classes:
        features = embed_prompts(embedder, build_prompts(classes, templates)).features
        classifier = build_classifier(features, len(classes)).T
        chances = similarity.probabilities(embedded.features, classifier, embedder.towers.scale)
        print(_table(names, classes, chances, args.json, args.count))
    if queries:
        found = similarity.best_images(embedded, embedder.texts(queries).features[0], args.count)
        for index, cosine in found:
            print(f"{cosine:+.3f}  {images.key(index)}")
        row = {
            "caption": args.retrieve,
            "note": f"best of {len(names)}",
            "right": [False] * len(found),
            "pictures": [images.read(index) for index, _ in found],
        }
        png.save_figure(pictures.retrieved_examples([row], columns=len(found)), args.out)
        print(args.out)
    if args.embeddings:
        command.write_array(args.embeddings, embedded.features.astype(np.float32))
        print(f"{args.embeddings}: {list(embedded.features.shape)}")


def _table(names: list[str], texts: list[str], probabilities: np.ndarray, as_json: bool, count=None) -> str:
    """The `count` texts (None: all) that fit each picture best, the most probable first; as JSON always all."""
    if as_json:
        by_name = {name: dict(zip(texts, row.tolist())) for name, row in zip(names, probabilities)}
        return json.dumps(by_name, ensure_ascii=False)
    lines = []
    for name, row in zip(names, probabilities):
        lines += [
            name,
            *(f"  {100 * row[index]:6.2f} %  {texts[index]}" for index in np.argsort(-row, kind="stable")[:count]),
        ]
    return "\n".join(lines)
