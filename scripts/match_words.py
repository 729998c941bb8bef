#!/usr/bin/env python3
"""Which patch of a picture the bipartite matching gives each word of its caption (the idea of the paper's Figure 1b).

Needs a training checkpoint: the map of patches to the words' space is not part of an exported model.
"""

import argparse

from lightclip_ms.cli import main_guard
from lightclip_ms.eval import command, figures, picture_grid, predict, word_matching


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_checkpoint_option(parser)
    parser.add_argument("--image", required=True, help="picture file")
    parser.add_argument("--text", required=True, help="its caption")
    parser.add_argument("--out", required=True, help="PNG file to write")
    command.add_run_options(parser)
    args = parser.parse_args()

    command.make_room(args.out)
    predict.require_words([args.text])
    images = predict.open_images([args.image])
    picture = picture_grid.central_square(images, 0)
    projection = word_matching.read_projection(command.find_checkpoint(args.checkpoint))
    towers = command.open_embedder(args.checkpoint, args).towers
    matches, grid = word_matching.match_caption(towers, images.read(0), args.text, projection)
    figures.save_figure(picture_grid.matching_figure(picture, args.text, matches, grid), args.out)
    for match in matches:
        print(
            f"{match.word:<20} row {match.patch[0] + 1}, column {match.patch[1] + 1} of {grid} x {grid}   "
            f"cosine {match.cosine:+.3f}"
        )
    print(args.out)


if __name__ == "__main__":
    main()
