"""What must be true of a process before MindSpore is loaded, and the choice of the device."""

import atexit
import contextlib
import functools
import os
import resource
import sys
import tempfile
from pathlib import Path

from lightclip_ms.runtime.requirements import check_requirements

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


def prepare_device(device: str = "auto", deterministic: bool = False) -> str:
    """Put MindSpore into graph mode on a device; returns "Ascend", "GPU" or "CPU".

    With `deterministic` MindSpore chooses kernels that repeat bit for bit, and sets HCCL's own switch for it.

    Raises:
        ValueError: unknown name, or MindSpore finds no such device. UnsupportedEnvironment: see `requirements`.
    """
    check_requirements()
    import mindspore as ms  # loading it takes seconds, and only after the environment is prepared

    targets = {"ascend": "Ascend", "gpu": "GPU", "cpu": "CPU"}
    if device not in DEVICES:
        raise ValueError(f"device: {device!r} is unknown; use one of {', '.join(DEVICES)}")
    if device == "auto":
        target = next((name for name in ("Ascend", "GPU") if ms.hal.is_available(name)), "CPU")
    else:
        target = targets[device]
        if target != "CPU" and not ms.hal.is_available(target):
            raise ValueError(
                f"device: MindSpore {ms.__version__} finds no {target} here; use device=auto or device=cpu"
            )
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_device(target)
    if target == "CPU":
        _keep_tensors_together()
        if os.environ.get("OMP_NUM_THREADS", "").isdigit():
            _limit_threads(max(1, int(os.environ["OMP_NUM_THREADS"])))
    if deterministic:  # before `communication.init`, which reads HCCL's switch
        ms.set_deterministic(True)
    if target == "Ascend":
        # Kernel by kernel on ms_backend: whole-graph sinking (O2) cannot hold the matcher, which runs on the host.
        ms.set_context(jit_config={"jit_level": "O1"})
        ms.device_context.ascend.op_precision.conv_allow_hf32(False)  # CANN's default would make float32 19 bits
    return target


def _limit_threads(count: int) -> None:
    """Kernels run on `count` threads, which MindSpore would not learn from OMP_NUM_THREADS.

    By itself it has two at least, which share every kernel and yield to each other until both are done. Two such
    processes on two cores switch threads 50,000 times a step.
    """
    import mindspore as ms  # loaded by the caller

    # One thread runs the graph's actors and its share of each kernel; the others only run kernels.
    ms.set_context(inter_op_parallel_num=1, runtime_num_threads=count - 1)


@functools.cache  # MindSpore takes it once in a process
def _keep_tensors_together() -> None:
    """The pool of tensors is one piece of address space, of which the system gives memory to what is touched.

    By itself it grows by 1 GB, and what is left at the end of each piece fits nothing large: a step of Swin-Nano that
    uses 2.2 GB at a time touched 3.1.
    """
    import mindspore as ms  # loaded by the caller

    limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    overcommit = Path("/proc/sys/vm/overcommit_memory")
    if limited or (overcommit.exists() and overcommit.read_text().strip() == "2"):
        return  # address space costs as much as memory here
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**31
    with contextlib.suppress(RuntimeError):  # the user has set it
        ms.runtime.set_memory(init_size=f"{max(1, half)}GB", increase_size="1GB")


def is_first_ascend() -> bool:
    """Whether the cards here are the first generation of Ascend 910: without bfloat16 and without some aclnn kernels.

    False where there is no Ascend: graphs that are compiled for one without having it are those of later cards.
    """
    from mindspore._c_expression import MSContext  # loads MindSpore; the context of Python has no such key

    return MSContext.get_instance().get_ascend_soc_version() == "ascend910"
