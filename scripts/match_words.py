#!/usr/bin/env python3
"""Which patch of a picture the bipartite matching gives each word of its caption (the idea of the paper's Figure 1b).

One row per picture, one column per checkpoint. A training checkpoint of a run with token alignment compares patches and
words in the space that the alignment trained. Any other, such as one of method=clip, has no such space: there both are
taken to the embedding space, each patch as if it were the whole picture and each word as if it ended the text. The
figure says which; --space embedding uses that space for all.
"""

import argparse
from pathlib import Path

from lightclip_ms.eval import command, similarity
from lightclip_ms.eval.sets.images import open_images
from lightclip_ms.figures import png, token_matches, word_figure
from lightclip_ms.figures.pictures import central_square
from lightclip_ms.model import weights
from lightclip_ms.runtime.exits import main_guard


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", nargs="+", required=True, help="files or runs' folders; one column each")
    parser.add_argument("--image", nargs="+", required=True, help="picture files; one row each")
    parser.add_argument("--text", nargs="+", required=True, help="one caption per picture")
    parser.add_argument("--label", nargs="+", help="one name per checkpoint for the figure (default: the files' names)")
    parser.add_argument("--space", default="trained", choices=("trained", "embedding"), help="default %(default)s")
    parser.add_argument("--out", required=True, help="PNG file to write")
    command.add_run_options(parser)
    args = parser.parse_args()

    command.make_room(args.out)
    similarity.require_words(args.text)
    images = open_images(args.image)
    labels = args.label or [Path(checkpoint).name for checkpoint in args.checkpoint]
    for name, given, wanted in (("--text", args.text, images), ("--label", labels, args.checkpoint)):
        if len(given) != len(wanted):
            raise ValueError(f"{name}: {len(given)} given, {len(wanted)} needed")
    squares = [central_square(images, index) for index in range(len(images))]
    columns = []
    for label, checkpoint in zip(labels, args.checkpoint):
        found = command.find_checkpoint(checkpoint)
        projection = weights.token_projection(found) if args.space == "trained" else None
        towers = command.open_checkpoint(found, args).towers
        space = token_matches.EMBEDDING if projection is None else token_matches.TRAINED
        matched = [
            token_matches.match_caption(towers, images.read(index), text, projection)
            for index, text in enumerate(args.text)
        ]
        columns.append(word_figure.Column(f"{label} ({space})", matched))
        _print(columns[-1])
    png.save_figure(word_figure.matching_figure(squares, args.text, columns), args.out)
    print(args.out)


def _print(column: word_figure.Column) -> None:
    print(column.title)
    for matches, grid in column.matched:
        for match in matches:
            print(
                f"  {match.word:<20} row {match.patch[0] + 1}, column {match.patch[1] + 1} of {grid} x {grid}   "
                f"cosine {match.cosine:+.3f}"
            )


if __name__ == "__main__":
    main()
