"""The paper's three configurations, as the default of scripts that look at the training step."""

from pathlib import Path

from lightclip_ms.config.file import load_config
from lightclip_ms.config.schema import Config

PAPER_CONFIGS = ("resnet18", "mobilenet_v2", "swin_nano")
ARGUMENTS_HELP = (
    f"configuration files or names in configs/ (default: {', '.join(PAPER_CONFIGS)}), and overrides for all"
)


def chosen_configs(arguments: list[str], folder: Path) -> dict[str, Config]:
    """Name -> configuration for a mixed list of files, names of files in `folder` and `key=value` overrides.

    Raises:
        FileNotFoundError, ValueError: as `load_config`.
    """
    overrides = [argument for argument in arguments if "=" in argument]
    names = [argument for argument in arguments if "=" not in argument] or PAPER_CONFIGS
    return {
        name: load_config(name if name.endswith(".yaml") else str(folder / f"{name}.yaml"), overrides) for name in names
    }
