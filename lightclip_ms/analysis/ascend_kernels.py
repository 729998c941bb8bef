"""Which primitives the installed MindSpore has an Ascend kernel for, and which of its files says so.

The Linux wheel carries the Ascend back end, for whatever processor it was installed on. Its libraries cannot be loaded
without CANN, but its headers name every kernel class, its docstrings the platforms of every public operator, and the
names of the remaining adapters stand in one of the libraries. Of several kernels the one that MindSpore prefers is
named: aclnn before aclop.
"""

import functools
import importlib
import re
from pathlib import Path

import mindspore

_KERNELS = "include/mindspore/ops/kernel/ascend"
_ADAPTERS = "include/mindspore/ccsrc/plugin/ascend/res_manager/op_adapter/op_adapter_map.h"
_ADAPTER_LIBRARY = "lib/plugin/ascend/libmindspore_ascend_res_manager.so"
_SPLITS = "include/mindspore/ccsrc/backend/common/pass/ir_fission"
_DOCUMENTED = ("mindspore.ops", "mindspore.ops.operations", "mindspore.ops.auto_generate", "mindspore.nn")
# Nodes of the graph that order, group or pick values: nothing is computed, so they need no kernel anywhere.
STRUCTURAL = frozenset(
    ("Depend", "Load", "MakeList", "MakeTuple", "Partial", "Return", "Switch", "TupleGetItem", "UpdateState")
)
# Primitives that a pass of the Ascend back end replaces before kernels are selected: class of the pass.
_REPLACED = {"SyncBatchNorm": "SyncBnSplit", "SyncBatchNormGrad": "SyncBnGradSplit"}


class Declarations:
    """What the installed MindSpore declares for Ascend.

    Raises:
        ValueError: this MindSpore comes without the Ascend back end.
    """

    def __init__(self):
        self._root = Path(mindspore.__file__).parent
        if not (self._root / _KERNELS).is_dir():
            raise ValueError(
                f"MindSpore {mindspore.__version__} in {self._root} comes without its Ascend back end; "
                "use the wheel for Linux"
            )
        self._aclnn = self._in_headers(
            f"{_KERNELS}/aclnn", r"class (?:OPS_ASCEND_API )?(\w+?)(?:AclnnKernelMod|Ascend)\b"
        )
        self._adapters = self._in_headers(_ADAPTERS, r'kName\w+\[\] = "(\w+)"')
        self._collectives = self._in_headers(f"{_KERNELS}/hccl", r"MS_HCCL_REG_KERNEL\((\w+),")
        self._passes = self._in_headers(_SPLITS, r"class (?:\w+ )?(\w+Split) :")

    def evidence(self, primitive: str) -> str:
        """Kind of kernel and the file that declares it, or "" if nothing does."""
        if primitive in STRUCTURAL:
            return "none needed"
        for kind, names in (
            ("hccl", self._collectives),
            ("aclnn", self._aclnn),
            ("aclop", self._adapters),
            ("aclop", self._compiled_adapters),
        ):
            if primitive in names:
                return f"{kind}: {names[primitive]}"
        if _REPLACED.get(primitive) in self._passes:
            return f"replaced: {self._passes[_REPLACED[primitive]]}"
        return _documentation(primitive)

    def _in_headers(self, path: str, pattern: str) -> dict[str, str]:
        """Name -> header, for every match under a file or folder of MindSpore."""
        top = self._root / path
        headers = [top] if top.is_file() else sorted(top.rglob("*.h"))
        return {
            name: header.name for header in headers for name in re.findall(pattern, header.read_text(errors="replace"))
        }

    @functools.cached_property
    def _compiled_adapters(self) -> dict[str, str]:
        """Adapters that no header names, from the type names in the library that holds them."""
        library = self._root / _ADAPTER_LIBRARY
        names = re.findall(rb"OpAdapterINS1_\d+cz(\w+?)EE", library.read_bytes())
        return {name.decode(): library.name for name in names}


def _documentation(primitive: str) -> str:
    """Where the docstring of an operator lists Ascend among its supported platforms, or ""."""
    for module in _DOCUMENTED:
        documented = getattr(importlib.import_module(module), primitive, None)
        _, _, platforms = (getattr(documented, "__doc__", None) or "").partition("Supported Platforms:")
        if "``Ascend``" in platforms.strip().partition("\n")[0]:
            return f"documented: {module}.{primitive}"
    return ""
