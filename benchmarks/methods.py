"""What each method costs on this machine beside `clip`: parameters, time of a step, peak memory.

    python -m benchmarks.methods                                   # all methods, configs/laptop.yaml
    python -m benchmarks.methods resnet18 --methods clip lightclip train.batch_size=16 train.amp_level=O0

Every method has a process of its own, paused while another one is measured; their steps alternate, so that what else
happens on the machine meets all alike. The ratio is the median over rounds of a round's own ratio to the first method.
Peak memory is that of the process, compilation included. All processes stay in memory until the end.
"""

import argparse
import json
import os
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.batch import LENGTHS_HELP
from benchmarks.measure import warm_up, worker_environment
from benchmarks.protocol import Worker
from lightclip_ms.config.file import load_config, to_dict
from lightclip_ms.config.methods import METHODS
from lightclip_ms.runtime.exits import main_guard

ORDER = ("clip", *(name for name in METHODS if name != "clip"))
HEADER = "| method | parameters, inference | in training | step | ratio | peak memory |"


def measure(configs: dict, rounds: int, lengths: str, threads: int) -> list[dict]:
    """One entry for each named `Config`: {"method", "inference", "training", "seconds", "ratio", "peak_megabytes"}."""
    environment = worker_environment(threads, dict(os.environ))  # with what `lightclip_ms` set for MindSpore
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        workers = {}
        for name, config in configs.items():
            path = Path(folder, f"{name}.json")
            path.write_text(json.dumps(to_dict(config)), encoding="utf-8")
            workers[name] = stack.enter_context(Worker("methods_worker", [str(path), lengths], environment))
        for worker in workers.values():
            warm_up(worker, "step")
        answers = [{name: worker.run("step") for name, worker in workers.items()} for _ in range(rounds)]
        return summarize({name: worker.report for name, worker in workers.items()}, answers)


def summarize(sizes: dict[str, dict], answers: list[dict[str, dict]]) -> list[dict]:
    """The table of what the workers reported: `sizes` by method, and in each round an answer by method."""
    first = next(iter(sizes))
    return [
        {
            "method": name,
            **size,
            "seconds": statistics.median(turn[name]["seconds"] for turn in answers),
            "ratio": statistics.median(turn[name]["seconds"] / turn[first]["seconds"] for turn in answers),
            "peak_megabytes": answers[-1][name]["peak_megabytes"],
        }
        for name, size in sizes.items()
    ]


def to_markdown(results: list[dict]) -> str:
    lines = [HEADER, "|---|---|---|---|---|---|"]
    for entry in results:
        lines.append(
            f"| {entry['method']} | {entry['inference'] / 1e6:.2f} M | {entry['training'] / 1e6:.2f} M | "
            f"{entry['seconds']:.3f} s | {entry['ratio']:.2f} | {entry['peak_megabytes'] / 1e3:.2f} GB |"
        )
    return "\n".join(lines)


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arguments", nargs="*", metavar="CONFIG|key=value", help="default: laptop")
    parser.add_argument("--methods", nargs="+", default=ORDER, choices=ORDER, help="the first is compared with")
    parser.add_argument("--rounds", type=int, default=9, help="measured steps of each (default %(default)s)")
    parser.add_argument("--lengths", default="uniform", help=LENGTHS_HELP)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each (default %(default)s)")
    parser.add_argument("--json", help="write the results to this file")
    options = parser.parse_args()
    names = [text for text in options.arguments if "=" not in text] or ["laptop"]
    if len(names) > 1:
        raise ValueError(f"one configuration at a time, got {', '.join(names)}")
    overrides = [text for text in options.arguments if "=" in text]
    configs = {name: load_config(names[0], [*overrides, f"method={name}"]) for name in options.methods}
    results = measure(configs, options.rounds, options.lengths, options.threads)
    config = next(iter(configs.values()))
    print(f"{config.model.name}, {config.train.batch_size} pairs, {config.train.amp_level}, {options.threads} threads")
    print(to_markdown(results))
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
