"""Make a checkpoint to train from out of other projects' weights: image encoders, text towers, or one of each.

Reads .safetensors (timm, torchvision, open_clip, OpenAI) and MindCV's .ckpt; docs/weights.md lists the networks. A
table says what was taken, what stays fresh and what differs. Train from the result with model.pretrained=CHECKPOINT.

  import_weights.py resnet18d.safetensors --into resnet18 --out start.safetensors
  import_weights.py swin.safetensors clip.safetensors --out start.safetensors \\
    --into swin_tiny model.text_layers=12
"""

import argparse
import os

from lightclip_ms.config.file import load_config, to_dict
from lightclip_ms.runtime.exits import main_guard
from lightclip_ms.runtime.files import sha256
from lightclip_ms.runtime.versions import versions


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="files with weights, at most one for each tower")
    parser.add_argument(
        "--into",
        nargs="+",
        required=True,
        metavar="CONFIG",
        help="YAML file or shipped configuration of the model, then key=value overrides",
    )
    parser.add_argument("--out", required=True, metavar="CHECKPOINT", help="the .safetensors file to write")
    parser.add_argument(
        "--normalization",
        choices=("imagenet", "half", "clip"),
        default="imagenet",
        help="mean and deviation of the pictures that the image tower's source was trained on; they are folded into "
        "its first convolution (half: 0.5 and 0.5; default %(default)s)",
    )
    args = parser.parse_args()
    config = load_config(args.into[0], args.into[1:])
    if not args.out.endswith(".safetensors"):
        raise ValueError(f"--out: {args.out} should end in .safetensors")
    if os.path.abspath(args.out) in [os.path.abspath(path) for path in args.sources]:
        raise ValueError(f"--out: {args.out} is one of the sources; choose another name")

    from lightclip_ms.model.foreign import report  # MindSpore only for a valid command
    from lightclip_ms.model.foreign.importing import import_weights
    from lightclip_ms.model.weights import write_checkpoint

    arrays, imported, fresh = import_weights(args.sources, config.model, args.normalization, config.train.seed)
    print(report.table(imported, fresh))
    digests = {path: sha256(path) for path in args.sources}
    header = {
        "kind": "imported",
        "config": to_dict(config),
        "versions": versions(),
        "imported": report.record(imported, digests, args.normalization, fresh),
    }
    os.makedirs(os.path.dirname(os.path.abspath(args.out)), exist_ok=True)
    write_checkpoint(args.out, arrays, header)
    print(f"{args.out}: train from it with model.pretrained={args.out}")
