"""LightCLIP for MindSpore: lightweight vision-language models, trained and evaluated.

Importing this package prepares the process (see `runtime.backend`) and registers the terms of the objective.
MindSpore is loaded by the first attribute that needs it, so `import lightclip_ms` is fast and silent.
"""

import importlib

from lightclip_ms.runtime import backend, requirements

__version__ = "0.1.0"

backend.prepare_environment()
importlib.import_module("lightclip_ms.train.terms")  # declares the keys of the `loss` section

_EXPORTS = {
    "list_models": "lightclip_ms.config.presets",
    "create_model": "lightclip_ms.model.factory",
    "create_model_and_transforms": "lightclip_ms.model.factory",
    "load_model": "lightclip_ms.model.factory",
    "load_exported": "lightclip_ms.export.exported",
    "get_tokenizer": "lightclip_ms.data.tokenizer",
}
_SUBMODULES = (
    "analysis",
    "config",
    "data",
    "demo",
    "encoders",
    "eval",
    "export",
    "figures",
    "losses",
    "model",
    "runtime",
    "train",
    "web",
)

__all__ = sorted(_EXPORTS)


def __getattr__(name):
    if name in _EXPORTS:
        if _EXPORTS[name].startswith("lightclip_ms.model"):  # the others do without MindSpore
            requirements.check_requirements()
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"lightclip_ms.{name}")
    raise AttributeError(f"module 'lightclip_ms' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_EXPORTS, *_SUBMODULES])
