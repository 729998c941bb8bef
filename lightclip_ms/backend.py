"""What must be true of a process before MindSpore is loaded, and the choice of the device."""
import atexit
import os
import sys
import tempfile

DEVICES = ("auto", "ascend", "gpu", "cpu")


def _cpu_flags() -> frozenset:
    """Feature flags of the processor; empty where the system does not list them."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return frozenset()
    return frozenset(line.split())


def prepare_environment() -> None:
    """Set MindSpore's process-wide switches that only work before its import; a value the user set stays.

    * `ONEDNN_MAX_CPU_ISA`: with AVX-512 the bundled oneDNN picks reference convolutions, up to 100 times slower.
    * `GLOG_v`: MindSpore's default prints a pair of harmless warnings for every LayerNorm it compiles.
    * `MS_OM_PATH`: keeps `rank_0/om` dumps of failed compiles out of the working directory.
    """
    if any(flag.startswith("avx512") for flag in _cpu_flags()):
        os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
    os.environ.setdefault("GLOG_v", "3")
    os.environ.setdefault("MS_OM_PATH", os.path.join(tempfile.gettempdir(), f"lightclip_ms-{os.getuid()}"))
    atexit.register(_silence_cell_finalizers)


def _silence_cell_finalizers() -> None:
    """Cells that outlive the interpreter's modules would print a traceback each from their finalizer."""
    if "mindspore.nn" in sys.modules:
        sys.modules["mindspore.nn"].Cell.__del__ = lambda self: None
