"""LightCLIP for MindSpore: lightweight vision-language models, trained and evaluated.

Importing this package only prepares the process (see `backend`); MindSpore itself is loaded by the
first attribute that needs it, so `import lightclip_ms` stays fast and silent.
"""

import importlib

from lightclip_ms import backend

__version__ = "0.1.0"

backend.prepare_environment()

_EXPORTS = {
    "list_models": "lightclip_ms.factory",
    "create_model": "lightclip_ms.factory",
    "create_model_and_transforms": "lightclip_ms.factory",
    "get_tokenizer": "lightclip_ms.factory",
}
_SUBMODULES = ("data", "demo", "encoders", "eval", "factory", "losses", "model", "train")

__all__ = sorted(_EXPORTS)


def __getattr__(name):
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"lightclip_ms.{name}")
    raise AttributeError(f"module 'lightclip_ms' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_EXPORTS, *_SUBMODULES])
