#!/usr/bin/env python3
"""Map the image embeddings of a labelled set with t-SNE, one panel per checkpoint (the paper's Figure 4).

Prints the silhouette score of the classes in embedding space and on the map: 1 is perfect, 0 is mixed.
"""

import argparse
from pathlib import Path

from lightclip_ms.eval import command
from lightclip_ms.eval.sets import prompts
from lightclip_ms.eval.sets.class_order import class_mapping, describe_classes, match_classes
from lightclip_ms.eval.sets.images import Subset
from lightclip_ms.eval.sets.labelled import open_labelled
from lightclip_ms.figures import embedding_map, pictures, png
from lightclip_ms.runtime.exits import main_guard


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", nargs="+", required=True, help="files or runs' folders; one panel each")
    parser.add_argument("--data", required=True, help="folder of class folders, or shards with .cls")
    parser.add_argument("--classnames", help="names as in eval_zeroshot.py; default: the class folders' names")
    parser.add_argument("--label", nargs="+", help="one name per checkpoint for the figure (default: the files' names)")
    parser.add_argument("--images", type=int, default=2000, help="evenly chosen from the classes (default %(default)s)")
    parser.add_argument("--perplexity", type=float, default=30.0, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--out", required=True, help="PNG file to write")
    command.add_run_options(parser)
    args = parser.parse_args()

    command.make_room(args.out)
    labels = args.label or [Path(checkpoint).name for checkpoint in args.checkpoint]
    if len(labels) != len(args.checkpoint):
        raise ValueError(f"--label: {len(labels)} given, {len(args.checkpoint)} needed")
    dataset = open_labelled(args.data)
    names = match_classes(dataset, prompts.load_class_names(args.classnames) if args.classnames else None)
    print(describe_classes(class_mapping(dataset, names)))
    command.print_left_out(dataset)
    chosen = embedding_map.evenly_per_class(dataset.labels, args.images)
    maps = []
    for label, checkpoint in zip(labels, args.checkpoint):
        embedded = command.open_embedder(checkpoint, args).images(Subset(dataset, chosen))
        classes = dataset.labels[chosen[embedded.kept]]
        points = embedding_map.t_sne(embedded.features, args.perplexity, args.seed)
        inside = embedding_map.cluster_score(embedded.features, classes, "cosine")
        outside = embedding_map.cluster_score(points, classes, "euclidean")
        print(f"{label}: silhouette {inside:+.3f} in embedding space, {outside:+.3f} on the map ({len(points)} images)")
        maps.append((f"{label}\nsilhouette {inside:+.3f}", points))
    png.save_figure(pictures.embedding_figure(maps, classes, names), args.out)
    print(args.out)


if __name__ == "__main__":
    main()
