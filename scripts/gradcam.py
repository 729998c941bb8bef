#!/usr/bin/env python3
"""Grad-CAM heatmaps: where one or more checkpoints see a caption, or a word of it, in pictures (the paper's Figure 3).

One column per picture, one row per checkpoint. --text holds a text for every picture; --word replaces the text that is
looked for (one per picture), the caption then only stands below.
"""

import argparse
from pathlib import Path

import numpy as np

from lightclip_ms.eval import command, similarity
from lightclip_ms.eval.sets.images import open_images
from lightclip_ms.figures import grad_cam, pictures, png
from lightclip_ms.runtime.exits import main_guard


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", nargs="+", required=True, help="files or runs' folders; one row each")
    parser.add_argument("--image", nargs="+", required=True, help="picture files; one column each")
    parser.add_argument("--text", nargs="+", required=True, help="one caption per picture")
    parser.add_argument("--word", nargs="+", help="one word or phrase per picture to look for instead of the caption")
    parser.add_argument("--label", nargs="+", help="one name per checkpoint for the figure (default: the files' names)")
    parser.add_argument("--out", required=True, help="PNG file to write")
    command.add_run_options(parser)
    args = parser.parse_args()

    command.make_room(args.out)
    images = open_images(args.image)
    labels = args.label or [Path(checkpoint).name for checkpoint in args.checkpoint]
    for name, given, wanted in (
        ("--text", args.text, images),
        ("--word", args.word or images, images),
        ("--label", labels, args.checkpoint),
    ):
        if len(given) != len(wanted):
            raise ValueError(f"{name}: {len(given)} given, {len(wanted)} needed")
    texts = args.word or args.text
    similarity.require_words(texts)
    squares = [pictures.central_square(images, index) for index in range(len(images))]
    rows = []
    for label, checkpoint in zip(labels, args.checkpoint):
        towers = command.open_checkpoint(checkpoint, args).towers
        pixels = np.stack([towers.preprocess(images.read(index)) for index in range(len(images))])
        rows.append((label, list(grad_cam.grad_cam(towers.model, pixels, towers.encode_texts(towers.tokenize(texts))))))
    below = [f"{text} [{word}]" for text, word in zip(args.text, args.word)] if args.word else args.text
    png.save_figure(pictures.heatmap_figure(squares, below, rows), args.out)
    print(args.out)


if __name__ == "__main__":
    main()
