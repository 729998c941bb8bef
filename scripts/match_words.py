#!/usr/bin/env python3
"""Which patch of a picture the bipartite matching gives each word of its caption (the idea of the paper's Figure 1b).

Needs a training checkpoint: the map of patches to the words' space is not part of an exported model.
"""

import argparse

from lightclip_ms.eval import command, similarity
from lightclip_ms.eval.sets.images import open_images
from lightclip_ms.figures import pictures, png, token_matches
from lightclip_ms.model import weights
from lightclip_ms.runtime.exits import main_guard


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
    similarity.require_words([args.text])
    images = open_images([args.image])
    picture = pictures.central_square(images, 0)
    projection = weights.token_projection(command.find_checkpoint(args.checkpoint))
    towers = command.open_checkpoint(args.checkpoint, args).towers
    matches, grid = token_matches.match_caption(towers, images.read(0), args.text, projection)
    png.save_figure(pictures.matching_figure(picture, args.text, matches, grid), args.out)
    for match in matches:
        print(
            f"{match.word:<20} row {match.patch[0] + 1}, column {match.patch[1] + 1} of {grid} x {grid}   "
            f"cosine {match.cosine:+.3f}"
        )
    print(args.out)


if __name__ == "__main__":
    main()
