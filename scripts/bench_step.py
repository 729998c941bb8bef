"""Speed of the full training step against PyTorch on this machine, after checking that both compute the same.

    python scripts/bench_step.py                          # the three encoders at 224 px, batch 16, and the demo model
    python scripts/bench_step.py demo:64 --rounds 9     # a file of configs/ and a batch size
    python scripts/bench_step.py demo:64 --lengths 'demo_data/train-*.tar'      # captions as long as those
    python scripts/bench_step.py swin_nano:64 --tasks step --alone      # 12 GB for each framework, not for both at once

Needs PyTorch: pip install -e .[bench]
"""

import argparse
import importlib.util
import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

ENVIRONMENT = dict(os.environ)  # before `lightclip_ms` adds what only MindSpore should get

from benchmarks.batch import LENGTHS_HELP  # noqa: E402
from benchmarks.measure import TASKS, measure  # noqa: E402
from lightclip_ms.config.file import load_config  # noqa: E402
from lightclip_ms.runtime.exits import main_guard  # noqa: E402

DEFAULT = ("resnet18:16", "mobilenet_v2:16", "swin_nano:16", "demo:64")
TOLERANCE = 1e-4


def parse_case(text: str):
    name, _, batch = text.partition(":")
    return load_config(name), int(batch or 16)


def show(result: dict) -> None:
    ours, theirs = result["gradients_differ"], result["torch_gradients_differ"]
    print(f"{result['model']}, batch {result['batch']}, {result['threads']} threads")
    print(
        f"  differences from float64: loss terms {result['terms_differ']:.1e}; gradients {ours['median']:.1e} in the "
        f"median, {ours['overall']:.1e} overall (PyTorch's float32: {theirs['median']:.1e}, {theirs['overall']:.1e})"
    )
    for framework, start in result["start"].items():
        print(
            f"  {framework}: {', '.join(f'{name} {seconds:.1f} s' for name, seconds in start.items())}, peak memory "
            f"{result['peak_megabytes'][framework]:.0f} MB"
        )
    for task in (task for task in TASKS if task in result):
        ours, theirs = result[task]["mindspore"], result[task]["torch"]
        ratios = [ours[key] / theirs[key] for key in ("seconds", "processor")]
        print(
            f"  {task:14}{ours['seconds']:8.3f} s   PyTorch {theirs['seconds']:8.3f} s   ratio {ratios[0]:5.2f} "
            f"(processor time {ratios[1]:5.2f})   {result['batch'] / ours['seconds']:8.1f} samples/s"
        )
    padded = result["step"]["torch"]["seconds"]
    print(
        f"  captions of the lengths {result['lengths']!r}: R {result['rows']} rows for {2 * result['batch']}, "
        f"{100 * result['overflow']:.1f} % of batches do not fit"
    )
    for name, seconds in {"packed": result["step"]["mindspore"]["seconds"], **result["steps"]}.items():
        print(f"    {name:28}{seconds:8.3f} s   to PyTorch's padded step {seconds / padded:5.2f}")
    for framework, operators in result.get("operators", {}).items():
        largest = sorted(operators.items(), key=lambda item: -item[1])[:16]
        shares = [f"{name} {100 * time / sum(operators.values()):.1f} %" for name, time in largest]
        print(f"  {framework} operators: {', '.join(shares)}")
    sys.stdout.flush()


@main_guard
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=DEFAULT, help="config:batch, default: %(default)s")
    parser.add_argument("--lengths", default="cc12m", help=LENGTHS_HELP)
    parser.add_argument(
        "--tasks",
        nargs="+",
        default=TASKS,
        choices=TASKS,
        help="what is measured, the step always (default: all of %(choices)s)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each (default %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of either framework (default %(default)s)")
    parser.add_argument(
        "--alone", action="store_true", help="one framework after the other instead of in turns: half the memory"
    )
    parser.add_argument("--operators", action="store_true", help="also show where the step's time goes")
    parser.add_argument("--json", help="write the results to this file")
    arguments = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        raise ValueError("PyTorch is not installed; pip install -e .[bench]")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no stopped worker is left behind
    results = []
    for case in arguments.cases:
        results.append(
            measure(
                *parse_case(case),
                arguments.rounds,
                arguments.threads,
                arguments.operators,
                ENVIRONMENT,
                arguments.lengths,
                [task for task in TASKS if task == "step" or task in arguments.tasks],
                arguments.alone,
            )
        )
        show(results[-1])
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    wrong = [r["model"] for r in results if max(r["terms_differ"], r["gradients_differ"]["median"]) > TOLERANCE]
    if wrong:
        print(f"error: loss terms or gradients differ by more than {TOLERANCE} for {', '.join(wrong)}", file=sys.stderr)
    return 2 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
