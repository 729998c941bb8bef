"""Bytes moved, operations and expected scaling of a training step.

scripts/cost_model.py [CONFIG ...] [options] [key=value ...]

Prints Markdown tables. A model, not a measurement: see docs/scaling.md.
"""

import argparse
import dataclasses
import sys

from lightclip_ms.analysis.cost_model import Hardware, count_step, step_cost
from lightclip_ms.analysis.paper_configs import ARGUMENTS_HELP, chosen_configs
from lightclip_ms.runtime import backend
from lightclip_ms.runtime.exits import main_guard

UNITS = {
    "teraflops": "peak TFLOPS of a card",
    "utilization": "share of the peak that is reached",
    "memory": "GB/s of a card's memory",
    "hccs": "GB/s out of a card to its node",
    "roce": "GB/s out of a card to other nodes",
    "node": "cards of a node",
    "latency": "microseconds of a collective times log2 of the cards",
    "host": "milliseconds a step in which the device waits for the matcher",
}


@main_guard
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arguments", nargs="*", metavar="CONFIG|key=value", help=ARGUMENTS_HELP)
    parser.add_argument("--cards", type=int, nargs="+", default=[8, 64, 512], help="default: 8 64 512")
    for field in dataclasses.fields(Hardware):
        parser.add_argument(
            f"--{field.name}",
            type=field.type,
            default=field.default,
            help=f"{UNITS[field.name]} (default: %(default)s)",
        )
    options = parser.parse_args()
    hardware = Hardware(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Hardware)})
    _check_positive({"--cards": min(options.cards), **{f"--{name}": value for name, value in vars(hardware).items()}})
    configs = chosen_configs(options.arguments)

    backend.prepare_device("cpu")
    steps = {name: count_step(config) for name, config in configs.items()}
    from lightclip_ms.analysis.contrast_traffic import contrast_traffic  # MindSpore only for valid numbers

    traffic = contrast_traffic()
    print("Assumed: " + ", ".join(f"{UNITS[name]} {value:g}" for name, value in vars(hardware).items()) + ".\n")
    print(
        "| configuration | pairs per card | parameters | gradients | TFLOP per step and card, alone |\n"
        "|---|---|---|---|---|"
    )
    for name, step in steps.items():
        print(
            f"| {name} | {step.pairs} | {sum(step.gradients) / 1e6:.1f} M "
            f"| {len(step.gradients)}, {4 * sum(step.gradients) / 1e6:.0f} MB | {step.flops / 1e12:.2f} |"
        )
    print(
        "\n| configuration | cards | TFLOP | of it similarity | features out | gradients out | buckets | N x G matrix "
        "| ms compute | ms elementwise | ms features | ms gradients | ms a step | efficiency |\n" + "|---" * 14 + "|"
    )
    for name, step in steps.items():
        for cards in options.cards:
            cost = step_cost(step, cards, hardware, traffic)
            print(
                f"| {name} | {cards} | {cost.flops / 1e12:.2f} | {cost.similarity:.1%} | {cost.gather / 1e6:,.0f} MB "
                f"| {cost.reduction / 1e6:,.0f} MB | {cost.buckets} | {cost.matrix / 1e6:,.1f} MB "
                f"| {1e3 * cost.compute:.0f} | {1e3 * cost.elementwise:.1f} | {1e3 * cost.gather_time:.1f} "
                f"| {1e3 * cost.reduction_time:.1f} "
                f"| {1e3 * cost.fastest:.0f} to {1e3 * cost.slowest:.0f} "
                f"| {cost.alone / cost.slowest:.0%} to {cost.alone / cost.fastest:.0%} |"
            )
    print(
        f"\nThe instance loss and its gradient make {traffic.similarities} arrays of N x G numbers and "
        f"{traffic.features} of G x E; their elementwise operators move {traffic.similarity_bytes:.0f} N G + "
        f"{traffic.feature_bytes:.0f} G E bytes."
    )
    return 0


def _check_positive(options: dict) -> None:
    for name, value in options.items():
        if value < 0 or (value == 0 and name not in ("--latency", "--host")):
            raise ValueError(f"{name}: {value} is not possible; use a positive number")


if __name__ == "__main__":
    sys.exit(main())
