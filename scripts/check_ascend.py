"""Check the training step for Ascend without an NPU: scripts/check_ascend.py [CONFIG ...] [key=value ...]

Compiles the whole step of each configuration as it is built for Ascend and lists every primitive with the kind of its
kernel (aclnn, TBE, AICPU, eager only, none) and the file that says so, what crosses between host and device, and every
violation with its line of code: a primitive without a kernel on the AI cores, a dynamic shape, a call of the host that
is not the matcher's, float64, complex or int64 data. The exit code is 0 without violations, 1 with, 2 for a mistake in
the arguments. Under `msrun` the step of several ranks is checked. See docs/ascend.md.
"""

import argparse
import sys

from lightclip_ms.analysis.paper_configs import ARGUMENTS_HELP, chosen_configs
from lightclip_ms.runtime import backend
from lightclip_ms.runtime.exits import main_guard


@main_guard
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arguments", nargs="*", metavar="CONFIG|key=value", help=ARGUMENTS_HELP)
    parser.add_argument("--pairs", type=int, default=2, help="batch of one rank (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="only transfers and violations")
    options = parser.parse_args()
    configs = chosen_configs(options.arguments)

    backend.prepare_device("cpu")
    from lightclip_ms.analysis.ascend_check import check, volume
    from lightclip_ms.analysis.ascend_kernels import Declarations
    from lightclip_ms.analysis.step_graph import step_operators, uploads
    from lightclip_ms.runtime import parallel  # MindSpore only for valid configurations

    declarations = Declarations()
    rank, world_size = parallel.init()
    violations = 0
    for name, config in configs.items():
        operators = step_operators(config, options.pairs, rank, world_size)
        matched = config.loss.token_weight > 0 and config.loss.matching == "bipartite"
        report = check(operators, declarations, matchers=int(matched))
        violations += len(report.violations)
        if rank == 0:
            _print(name, config, world_size, report, volume(uploads(config, options.pairs)), options.quiet)
    return 1 if violations else 0


def _print(name, config, world_size, report, upload, quiet: bool) -> None:
    precision = config.train.amp_dtype if config.train.amp_level == "O2" else "float32"
    count = sum(row[1] for row in report.primitives)
    print(
        f"{name}: {count} operators of {len(report.primitives)} kinds, {report.launched} with a kernel, {precision}, "
        f"{world_size} rank(s)"
    )
    if not quiet:
        for primitive, times, kinds, evidence in report.primitives:
            print(f"  {primitive:24}{times:5}  {kinds:24} {evidence}")
    print(f"  upload: {upload} a step")
    for line in report.transfers:
        print(f"  transfer: {line}")
    for line in report.violations:
        print(f"  VIOLATION: {line}")
    print(f"  {len(report.violations)} violation(s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
