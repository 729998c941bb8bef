"""The paper's three configurations, as the default of scripts that look at the training step."""

from lightclip_ms.config.file import load_config
from lightclip_ms.config.schema import Config

PAPER_CONFIGS = ("resnet18", "mobilenet_v2", "swin_nano")
ARGUMENTS_HELP = (
    f"configuration files, or names of shipped ones (default: {', '.join(PAPER_CONFIGS)}), and overrides for all"
)


def chosen_configs(arguments: list[str]) -> dict[str, Config]:
    """Name -> configuration for a mixed list of what `load_config` takes and `key=value` overrides.

    Raises:
        FileNotFoundError, ValueError: as `load_config`.
    """
    overrides = [argument for argument in arguments if "=" in argument]
    names = [argument for argument in arguments if "=" not in argument] or PAPER_CONFIGS
    return {name: load_config(name, overrides) for name in names}
