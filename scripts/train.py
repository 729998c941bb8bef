"""Train a LightCLIP: scripts/train.py --config configs/demo.yaml [key=value ...]

One process a card; `scripts/run_distribute.sh` starts them. The exit code is 0 when trained to the end, 75 when stopped
by SIGTERM or Ctrl-C (saved; the same command goes on), 2 for a mistake in the configuration or data, 1 otherwise.
"""
import argparse
import sys

from lightclip_ms.cli import main_guard
from lightclip_ms.config import load_config


@main_guard
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file, for example configs/demo.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example train.batch_size=64")
    arguments = parser.parse_args()
    config = load_config(arguments.config, arguments.overrides)

    from lightclip_ms.train.loop import EXIT_STOPPED, Stopped, Trainer  # MindSpore only for a valid configuration

    try:
        Trainer(config).run()
    except Stopped as stopped:
        print(stopped, flush=True)
        return EXIT_STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
