"""Train a LightCLIP: --config demo [key=value ...]

One process per device; --devices starts them. The exit code is 0 when trained to the end, 75 when stopped by SIGTERM or
Ctrl-C (saved; the same command resumes), 2 for a mistake in the configuration or data, 1 otherwise.
"""

import argparse
import sys

from lightclip_ms.config.file import load_config
from lightclip_ms.runtime import lifeline
from lightclip_ms.runtime.exits import EXIT_STOPPED, main_guard
from lightclip_ms.runtime.launch import default_devices, launch
from lightclip_ms.runtime.requirements import check_requirements


@main_guard
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file, or name of a shipped configuration such as demo")
    parser.add_argument(
        "--devices",
        type=int,
        metavar="N",
        help="start N processes, one per device, through msrun; 0: all devices of this machine",
    )
    parser.add_argument("--print-output-dir", action="store_true", help="only say where the run's files are")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example train.batch_size=64")
    arguments = parser.parse_args()
    config = load_config(arguments.config, arguments.overrides)
    if arguments.print_output_dir:
        print(config.output_dir)
        return 0
    if arguments.devices is not None:
        worker = ["-m", "lightclip_ms.train", "--config", arguments.config, *arguments.overrides]
        return launch(worker, arguments.devices or default_devices(config.device), config.output_dir, config.device)

    check_requirements()
    from lightclip_ms.train.loop import Stopped, Trainer  # MindSpore only for a valid configuration

    try:
        Trainer(config).run()
    except Stopped as stopped:
        print(stopped, flush=True)
        lifeline.leave_with(EXIT_STOPPED)
        return EXIT_STOPPED
    except FloatingPointError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
