"""What a machine must have for a run, check by check, without loading MindSpore."""

import importlib.metadata
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lightclip_ms.runtime.npus import VISIBLE, physical_npus, visible_npus

GIGABYTE = 1e9
FREE_DISK, SHARED_MEMORY, OPEN_FILES = 20 * GIGABYTE, 1 * GIGABYTE, 4096
DRIVER = Path("/usr/local/Ascend/driver/version.info")
SET_ENV = "source /usr/local/Ascend/ascend-toolkit/set_env.sh"
HCCL = ("HCCL_CONNECT_TIMEOUT", "HCCL_EXEC_TIMEOUT", "HCCL_IF_IP", "HCCL_SOCKET_IFNAME", "HCCL_DETERMINISTIC")


@dataclass(frozen=True)
class Finding:
    """One line of the table; `advice` is what to do, "" if all is well.

    A long run needs what `is_reserve` checks (disk, shared memory, files); for the ranks to meet, it does not matter.
    """

    name: str
    found: str
    advice: str = ""
    is_reserve: bool = False

    def __str__(self):
        return f"{self.name:16} {self.found:44} {self.advice or 'ok'}"


def examine(device: str, output_dir: str, environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """All checks that need no other process.

    Args:
        device: as in the configuration; "auto" looks at CANN only where there are NPUs.
        output_dir: where runs are written.
    """
    findings = [_python(), _package("mindspore", "2.10", "2.11"), _package("numpy", "1.25", "2")]
    on_npus = device == "ascend" or (device == "auto" and bool(physical_npus()))
    if on_npus:
        findings += [_cards(environ), _driver(), _cann(environ), _compiler(), _rank_table(environ)]
        findings.append(Finding("HCCL", _set_variables(HCCL, environ) or "no variable set"))
    return findings + [_role(environ), _folder(output_dir), _disk(output_dir), _shared_memory(), _open_files()]


def _python() -> Finding:
    version = sys.version_info[:2]
    right = (3, 10) <= version <= (3, 12)
    return Finding("Python", f"{sys.executable} {version[0]}.{version[1]}", "" if right else "use Python 3.10 to 3.12")


def _package(name: str, least: str, below: str) -> Finding:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "not installed", "pip install -r requirements.txt")
    right = _numbers(least) <= _numbers(version) < _numbers(below)
    return Finding(name, version, "" if right else f'pip install "{name}>={least},<{below}"')


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")[:3] if part.isdigit()]


def _cards(environ) -> Finding:
    cards = physical_npus()
    if not cards:
        return Finding(
            "NPUs", "no /dev/davinci*", "install driver and firmware, or pass the devices into the container"
        )
    try:
        visible = visible_npus(environ)
    except ValueError as error:
        return Finding("NPUs", f"{len(cards)} of this machine", str(error))
    advice = "" if visible else f"unset {VISIBLE}"
    return Finding("NPUs", f"{len(visible)} of {len(cards)} visible: {','.join(str(card) for card in visible)}", advice)


def _driver() -> Finding:
    if not DRIVER.is_file():
        return Finding("driver", f"no {DRIVER}", "install the driver that MindSpore's installation guide names")
    lines = DRIVER.read_text(errors="replace").splitlines()
    return Finding("driver", next((line for line in lines if line.lower().startswith("version=")), "version not said"))


def _cann(environ) -> Finding:
    home = environ.get("ASCEND_HOME_PATH") or environ.get("ASCEND_TOOLKIT_HOME", "")
    if not home or not Path(home).is_dir():
        return Finding("CANN", home or "ASCEND_HOME_PATH is not set", SET_ENV)
    missing = [name for name in ("ASCEND_OPP_PATH", "LD_LIBRARY_PATH", "PYTHONPATH") if not environ.get(name)]
    return Finding("CANN", home, f"{SET_ENV} ({', '.join(missing)} missing)" if missing else "")


def _compiler() -> Finding:
    """CANN compiles some operators online, with its own Python packages, in the Python that runs the training."""
    code = "import te, absl, attr, cffi, decorator, sympy, requests; print(te.__file__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return Finding("CANN's Python", done.stdout.strip())
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    return Finding("CANN's Python", reason, f"{sys.executable} -m pip install -r requirements-ascend.txt; {SET_ENV}")


def _rank_table(environ) -> Finding:
    table = environ.get("RANK_TABLE_FILE", "")
    return Finding("rank table", table or "none", "unset RANK_TABLE_FILE: it forces jit_level O2" if table else "")


def _role(environ) -> Finding:
    role = environ.get("MS_ROLE", "")
    return Finding(
        "MS_ROLE", role or "not set", "unset MS_ROLE: it is msrun's, left over in this shell" if role else ""
    )


def _folder(output_dir: str) -> Finding:
    existing = _existing(output_dir)
    try:
        with tempfile.NamedTemporaryFile(dir=existing):
            return Finding("output folder", str(existing))
    except OSError as error:
        return Finding("output folder", str(existing), f"cannot be written: {error.strerror}; set output_dir")


def _disk(output_dir: str) -> Finding:
    free = shutil.disk_usage(_existing(output_dir)).free
    needed = (
        f"free {FREE_DISK / GIGABYTE:.0f} GB: train.keep checkpoints stay, each three times the size of the weights"
    )
    return Finding("free disk", f"{free / GIGABYTE:,.0f} GB", "" if free > FREE_DISK else needed, is_reserve=True)


def _shared_memory() -> Finding:
    if not os.path.isdir("/dev/shm"):
        return Finding("/dev/shm", "none", "mount it: the loader's processes exchange pictures there", is_reserve=True)
    free = shutil.disk_usage("/dev/shm").free
    advice = "" if free > SHARED_MEMORY else "docker run --shm-size=8g: the loader's processes exchange pictures there"
    return Finding("/dev/shm", f"{free / GIGABYTE:,.1f} GB free", advice, is_reserve=True)


def _open_files() -> Finding:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    enough = limit == resource.RLIM_INFINITY or limit >= OPEN_FILES
    return Finding("open files", str(limit), "" if enough else f"ulimit -n {OPEN_FILES}", is_reserve=True)


def _existing(path: str) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(folder for folder in (Path(path).absolute(), *Path(path).absolute().parents) if folder.is_dir())


def _set_variables(names, environ) -> str:
    return " ".join(f"{name}={environ[name]}" for name in names if name in environ)
