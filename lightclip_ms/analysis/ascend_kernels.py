"""Which primitives the installed MindSpore has an Ascend kernel for in a graph, of which kind, and which file says so.

The Linux wheel carries the Ascend back end, for whatever processor it was installed on. Its libraries cannot be loaded
without CANN, but headers and names compiled into them tell which kernels exist. What only says that a primitive runs
eagerly (`pyboost` headers, platforms in docstrings) is no evidence for a graph.
"""

import functools
import importlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import mindspore

_KERNELS = "include/mindspore/ops/kernel/ascend"
_ACLNN_LIBRARY = "lib/plugin/libmindspore_ops_ascend.so"
_ADAPTERS = "include/mindspore/ccsrc/plugin/ascend/res_manager/op_adapter/op_adapter_map.h"
_ADAPTER_LIBRARY = "lib/plugin/ascend/libmindspore_ascend_res_manager.so"
_AICPU_CONFIG = "lib/plugin/ascend/custom_aicpu_ops/op_impl/cpu/config/cust_aicpu_kernel.json"
_SPLITS = "include/mindspore/ccsrc/backend/common/pass/ir_fission"
_DOCUMENTED = ("mindspore.ops", "mindspore.ops.operations", "mindspore.ops.auto_generate", "mindspore.nn")
_CORE_OPERATORS = "built-in/op_impl/ai_core/tbe/config/*/aic-*-ops-info.json"  # under CANN's ASCEND_OPP_PATH
_CLASS = r"class (?:OPS_ASCEND_API )?(\w+?)(?:AclnnKernelMod|Ascend(?:KernelMod|Call)?)\b"
# Nodes of the graph that order, group or pick values: nothing is computed, so they need no kernel anywhere.
STRUCTURAL = frozenset(
    ("Depend", "Load", "MakeList", "MakeTuple", "Partial", "Return", "Switch", "TupleGetItem", "UpdateState")
)
# Made into views or host numbers before kernels are launched (`mindspore/ops/view`, value-dependent inputs).
VIEWS = frozenset(("Reshape", "ExpandDims", "Squeeze", "TensorShape", "Shape"))
# Primitives that a pass of the Ascend back end replaces before kernels are selected: class of the pass.
_REPLACED = {"SyncBatchNorm": "SyncBnSplit", "SyncBatchNormGrad": "SyncBnGradSplit"}
# Registered in MindSpore's sources for an operator that is not called as the kernel's class or as CANN's operator.
_CLASS_OF = {"MatMulExt": "MMExt"}
_ADAPTER_OF = {"Stack": "Pack", "Unstack": "Unpack"}
# Operators that MindSpore registers for the AICPU and, in its table of TBE kernels, for the AI cores (public sources,
# mindspore/python/mindspore/ops/_op_impl/tbe; no longer in the wheel). Where CANN is installed its own list is read.
_KNOWN_TBE = frozenset(
    (
        "AddN",
        "Argmax",
        "ArgMaxWithValue",
        "ArgMinWithValue",
        "BiasAdd",
        "BiasAddGrad",
        "Gather",
        "OneHot",
        "ReduceMean",
        "ReduceSum",
        "RsqrtGrad",
        "Slice",
        "Split",
        "Stack",
        "StridedSlice",
        "StridedSliceGrad",
        "TopK",
        "UnsortedSegmentSum",
        "Unstack",
    )
)
GRAPH, CORE, AICPU, EAGER, NONE = "aclnn", "TBE", "AICPU", "eager only", "none"
FAST = (GRAPH, CORE, "hccl", "replaced", "view", "no kernel needed")


@dataclass(frozen=True)
class Evidence:
    """Kind of kernel (`GRAPH`, `CORE`, `AICPU`, `EAGER`, `NONE` or another of `FAST`) and the file that says so."""

    kind: str
    source: str = ""

    def __str__(self):
        return f"{self.kind}: {self.source}" if self.source else self.kind


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
        self._graph = self._aclnn("kernel_mod_impl") | self._compiled(
            _ACLNN_LIBRARY, rb"\d\dAclnn(\w+?)KernelModILm", _plain
        )
        self._eager = self._aclnn("pyboost_impl")
        self._adapters = self._compiled(_ADAPTER_LIBRARY, rb"OpAdapterINS1_\d+cz(\w+?)EE", str) | self._in_headers(
            _ADAPTERS, r'kName\w+\[\] = "(\w+)"'
        )
        self._collectives = self._in_headers(f"{_KERNELS}/hccl", r"MS_HCCL_REG_KERNEL\((\w+),")
        self._passes = self._in_headers(_SPLITS, r"class (?:\w+ )?(\w+Split) :")

    def evidence(self, primitive: str) -> Evidence:
        """The kernel that MindSpore prefers: aclnn before aclop, which CANN has for the AI cores (TBE) or the AICPU."""
        if primitive in STRUCTURAL:
            return Evidence("no kernel needed")
        if primitive in self._collectives:
            return Evidence("hccl", self._collectives[primitive])
        plain, adapter = _plain(_CLASS_OF.get(primitive, primitive)), _ADAPTER_OF.get(primitive, primitive)
        if plain in self._graph:
            return Evidence(GRAPH, self._graph[plain])
        if _REPLACED.get(primitive) in self._passes:
            return Evidence("replaced", self._passes[_REPLACED[primitive]])
        if primitive in VIEWS:
            return Evidence("view")
        if adapter in self._adapters:
            on_core = primitive in _KNOWN_TBE or adapter in self._cann or primitive not in self._aicpu
            return Evidence(CORE, self._adapters[adapter]) if on_core else Evidence(AICPU, self._aicpu[primitive])
        if primitive in self._aicpu:
            return Evidence(AICPU, self._aicpu[primitive])
        if plain in self._eager:
            return Evidence(EAGER, self._eager[plain])
        return Evidence(EAGER, _documentation(primitive)) if _documentation(primitive) else Evidence(NONE)

    def _aclnn(self, folder: str) -> dict[str, str]:
        """Plain name -> header, from the names of kernel classes and of the headers themselves."""
        names = {}
        for header in sorted((self._root / _KERNELS / "aclnn" / folder).rglob("*.h")):
            stem = re.sub(r"(_aclnn)?(_kernel)?$", "", header.stem)
            for name in (stem, *re.findall(_CLASS, header.read_text(errors="replace"))):
                names[_plain(name)] = header.name
        return names

    def _in_headers(self, path: str, pattern: str) -> dict[str, str]:
        """Name -> header, for every match under a file or folder of MindSpore."""
        top = self._root / path
        headers = [top] if top.is_file() else sorted(top.rglob("*.h"))
        return {
            name: header.name for header in headers for name in re.findall(pattern, header.read_text(errors="replace"))
        }

    def _compiled(self, path: str, pattern: bytes, as_key) -> dict[str, str]:
        """Name -> library, from the names of types that are compiled into it."""
        library = self._root / path
        return {as_key(name.decode()): library.name for name in re.findall(pattern, library.read_bytes())}

    @functools.cached_property
    def _aicpu(self) -> dict[str, str]:
        """Primitives that MindSpore registers for the card's scalar processors."""
        config = self._root / _AICPU_CONFIG
        registered = {name: config.name for name in json.loads(config.read_text())}
        for module in sorted((self._root / "ops/_op_impl/aicpu").glob("*.py")):
            registered |= {name: module.name for name in re.findall(r'AiCPURegOp\("(\w+)"\)', module.read_text())}
        return registered

    @functools.cached_property
    def _cann(self) -> frozenset[str]:
        """AI core operators of the installed CANN; none where there is no CANN."""
        folder = os.environ.get("ASCEND_OPP_PATH", "")
        return frozenset(_operators(Path(folder).glob(_CORE_OPERATORS))) if folder else frozenset()


def _operators(files: Iterable[Path]) -> list[str]:
    return [name for file in files for name in json.loads(file.read_text())]


def _plain(name: str) -> str:
    """`BatchMatMul` and `batch_matmul` are one name."""
    return name.replace("_", "").lower()


def _documentation(primitive: str) -> str:
    """Where the docstring of an operator lists Ascend among its supported platforms, or ""."""
    for module in _DOCUMENTED:
        documented = getattr(importlib.import_module(module), primitive, None)
        _, _, platforms = (getattr(documented, "__doc__", None) or "").partition("Supported Platforms:")
        if "``Ascend``" in platforms.strip().partition("\n")[0]:
            return f"documented: {module}.{primitive}"
    return ""
