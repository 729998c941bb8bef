"""Latency of both towers: ONNX Runtime in three precisions, compiled MindSpore, PyTorch eager and torch.compile.

    python scripts/bench_inference.py                                    # the three models at 224 px, 1 and 2 threads
    python scripts/bench_inference.py mobilenet_v2 --threads 1 --rounds 15

Every runtime has a process of its own; they take turns, and medians are compared. Weights are random. Prints Markdown.
Needs PyTorch: pip install -e .[bench]
"""

# ruff: noqa: E402 - the path is set first
import argparse
import importlib.util
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

ENVIRONMENT = dict(os.environ)  # before `lightclip_ms` adds what only MindSpore should get

from benchmarks.inference import RUNTIMES, Row, measure_tower, prepare
from lightclip_ms.config.file import load_config
from lightclip_ms.runtime.exits import main_guard

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
MODELS = ("mobilenet_v2", "resnet18", "swin_nano")
TOWERS = ("image", "text")
TOLERANCE = 1e-3  # relative, of float32


def table(rows: list[Row]) -> str:
    """A Markdown table: milliseconds, and the ratios to PyTorch eager: time, and in brackets processor time."""
    eager = next((row for row in rows if row.runtime == "torch"), None)
    tasks = list(rows[0].seconds)
    lines = [
        f"| runtime | threads | {' | '.join(f'{task}, ms' for task in tasks)} | "
        f"{' | '.join(f'{task} / PyTorch' for task in tasks)} | {unit(tasks)}/s | load, s | first calls, s | "
        "peak, MB | file, MB | difference |",
        f"|{'---|' * (2 * len(tasks) + 8)}",
    ]
    for row in rows:
        times = [f"{1e3 * row.seconds[task]:.1f}" for task in tasks]
        ratios = [
            f"{row.seconds[task] / eager.seconds[task]:.2f} ({row.processor[task] / eager.processor[task]:.2f})"
            if eager
            else ""
            for task in tasks
        ]
        best = max(int(task.split()[-1]) / row.seconds[task] for task in tasks)
        size = "" if row.file_megabytes is None else f"{row.file_megabytes:.1f}"
        cells = [row.runtime, str(row.threads), *times, *ratios, f"{best:.0f}", f"{row.load:.1f}", f"{row.first:.1f}"]
        lines.append(f"| {' | '.join([*cells, f'{row.peak_megabytes:.0f}', size, f'{row.difference:.0e}'])} |")
    return "\n".join(lines)


def unit(tasks: list[str]) -> str:
    """What a tower encodes."""
    return "images" if tasks[0].startswith("image") else "texts"


@main_guard
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="files of configs/ (default %(default)s)")
    parser.add_argument("--towers", nargs="+", choices=TOWERS, default=TOWERS, help="default %(default)s")
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=RUNTIMES, help="default all")
    parser.add_argument("--threads", nargs="+", type=int, default=(1, 2), help="of each runtime (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="measured calls of each task (default %(default)s)")
    parser.add_argument("--json", help="write the results to this file")
    arguments = parser.parse_args()
    if importlib.util.find_spec("torch") is None and any("torch" in each for each in arguments.runtimes):
        raise ValueError("PyTorch is not installed; pip install -e .[bench]")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no stopped worker is left behind
    results, wrong = [], []
    for name in arguments.models:
        config = load_config(str(CONFIGS / f"{name}.yaml")).model
        with tempfile.TemporaryDirectory() as folder:
            prepare(config, Path(folder), ENVIRONMENT)
            for tower in arguments.towers:
                for threads in arguments.threads:
                    rows = measure_tower(
                        tower, Path(folder), arguments.runtimes, threads, arguments.rounds, ENVIRONMENT
                    )
                    print(f"\n{name}, {tower} tower, {threads} thread(s)\n\n{table(rows)}", flush=True)
                    results += [{"model": name, "tower": tower, **vars(row)} for row in rows]
                    precise = [row for row in rows if row.runtime not in ("onnxruntime.float16", "onnxruntime.int8")]
                    wrong += [f"{name} {tower} {row.runtime}" for row in precise if row.difference > TOLERANCE]
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if wrong:
        print(f"error: features differ by more than {TOLERANCE} from PyTorch's: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
