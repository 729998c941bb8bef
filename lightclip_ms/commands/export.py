"""Export a trained model as a folder that runs without MindSpore, and measure how far it is from the original.

  export.py runs/demo/model.safetensors --out exported --precision float32 float16 int8
  export.py runs/demo --out exported --precision int8 --pairs demo_data/val.tar --calibration demo_data/train-00000.tar

The folder takes its name only when every tower is within the bounds; otherwise nothing is left and the exit code is 1.
docs/deploy.md describes its files; `lightclip_ms.load_exported`, predict.py and the eval scripts read it.
"""

import argparse
import sys
from functools import partial

from lightclip_ms.eval import command
from lightclip_ms.eval.export import FORMATS, Job, export_checkpoint
from lightclip_ms.eval.parity import MAX_LOSS
from lightclip_ms.export.manifest import PRECISIONS
from lightclip_ms.runtime import backend
from lightclip_ms.runtime.exits import main_guard


@main_guard
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="checkpoint file, or a run's folder for its newest one")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="an earlier export there is replaced")
    parser.add_argument(
        "--format",
        nargs="+",
        choices=FORMATS,
        default=["onnx"],
        help="ONNX is always written; mindir is for MindSpore Lite, open_clip for PyTorch (default %(default)s)",
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=PRECISIONS,
        default=["float32"],
        help="of the ONNX files; the image tower in int8 needs --calibration (default %(default)s)",
    )
    parser.add_argument(
        "--pairs", metavar="DATA", help="shards or table as for eval_retrieval.py, to compare on; default: drawn shapes"
    )
    parser.add_argument(
        "--calibration", metavar="DATA", help="shards or table of pictures of the kind the model will see; 64 are used"
    )
    parser.add_argument(
        "--max-loss",
        type=float,
        default=MAX_LOSS,
        metavar="POINTS",
        help="of R@1 on --pairs that float16 or int8 may lose (default %(default)s)",
    )
    parser.add_argument(
        "--tokens", action="store_true", help="also the tokens that match words to patches; needs a training checkpoint"
    )
    parser.add_argument("--device", default="auto", choices=backend.DEVICES, help="default %(default)s")
    args = parser.parse_args()
    path = command.find_checkpoint(args.checkpoint)
    backend.prepare_device(args.device)
    job = Job(args.format, args.precision, args.pairs, args.calibration, args.max_loss, args.tokens)
    wrong = export_checkpoint(path, args.out, job, partial(print, flush=True))
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    return 1 if wrong else 0
