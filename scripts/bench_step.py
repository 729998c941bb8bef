"""Speed of the full training step against PyTorch on this machine, after checking that both compute the same.

    python scripts/bench_step.py                          # the three encoders at 224 px, batch 16, and the demo model
    python scripts/bench_step.py lightclip_demo:128 --rounds 9

Needs PyTorch: pip install -e .[bench]
"""
import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

ENVIRONMENT = dict(os.environ)  # before `lightclip_ms` adds what only MindSpore should get

import numpy as np  # noqa: E402

from benchmarks.batch import make_batch  # noqa: E402
from benchmarks.compare import compare_gradients  # noqa: E402
from benchmarks.protocol import Worker  # noqa: E402
from lightclip_ms.config_file import to_dict  # noqa: E402
from lightclip_ms.factory import preset  # noqa: E402

DEFAULT = ("lightclip_resnet18:16", "lightclip_mobilenet_v2:16", "lightclip_swin_nano:16", "lightclip_demo:128")
TASKS = ("step", "image encoder", "text encoder", "encode_image", "encode_text")
TOLERANCE = 1e-4


def parse_case(text: str):
    name, _, batch = text.partition(":")
    return preset(name), int(batch or 16)


def measure(config, batch_size: int, rounds: int, threads: int, tasks) -> dict:
    """Both workers on one model, their turns alternating; medians in seconds and peak memory by task and framework."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "model.json").write_text(json.dumps(to_dict(config)), encoding="utf-8")
        np.savez(f"{folder}/batch.npz", **make_batch(
            batch_size, config.image_size, config.context_length, config.vocab_size))
        environment = {**ENVIRONMENT, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
        with Worker("mindspore_worker", [folder], environment) as ours, \
                Worker("torch_worker", [folder, str(threads)], environment) as theirs:
            difference = np.abs(np.subtract(ours.report["terms"], theirs.report["terms"])).max()
            result = {"model": config.name, "batch": batch_size, "threads": threads, **ours.report,
                      "terms_differ": float(difference), "gradients_differ": compare_gradients(folder)}
            workers = {"mindspore": ours, "torch": theirs}
            for task in tasks:
                answers = {framework: [] for framework in workers}
                for _ in range(rounds + 1):
                    for framework, worker in workers.items():
                        answers[framework].append(worker.run(task))
                result[task] = {framework: summary(each[1:]) for framework, each in answers.items()}  # 0 compiles
            for framework in workers:
                result[f"{framework}_peak_megabytes"] = answers[framework][-1]["peak_megabytes"]
    return result


def summary(answers: list) -> dict:
    return {key: statistics.median(answer[key][0] for answer in answers) for key in ("seconds", "processor")}


def show(result: dict) -> None:
    differ = result["gradients_differ"]
    print(f"{result['model']}, batch {result['batch']}, {result['threads']} threads: loss terms differ by "
          f"{result['terms_differ']:.1e}, gradients by {differ['overall']:.1e} (median {differ['median']:.1e}, worst "
          f"{differ['worst']:.1e}: {differ['worst_name']})\n  model built in {result['build']:.1f} s, step compiled in "
          f"{result['compile']:.1f} s, peak memory {result['mindspore_peak_megabytes']:.0f} MB (PyTorch "
          f"{result['torch_peak_megabytes']:.0f})")
    for task in TASKS:
        if task in result:
            ours, theirs = result[task]["mindspore"], result[task]["torch"]
            print(f"  {task:14}{ours['seconds']:8.3f} s   PyTorch {theirs['seconds']:8.3f} s   "
                  f"ratio {ours['seconds'] / theirs['seconds']:5.2f} (processor time "
                  f"{ours['processor'] / theirs['processor']:5.2f})   {result['batch'] / ours['seconds']:8.1f} samples/s",
                  flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=DEFAULT, help="model:batch, default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each (default %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of either framework (default %(default)s)")
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS, help="what to measure (default: all)")
    parser.add_argument("--json", help="write the results to this file")
    arguments = parser.parse_args()
    results = []
    for case in arguments.cases:
        results.append(measure(*parse_case(case), arguments.rounds, arguments.threads, arguments.tasks))
        show(results[-1])
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    wrong = [r["model"] for r in results if max(r["terms_differ"], r["gradients_differ"]["median"]) > TOLERANCE]
    if wrong:
        print(f"error: loss terms or gradients differ by more than {TOLERANCE} for {', '.join(wrong)}", file=sys.stderr)
    return 2 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
