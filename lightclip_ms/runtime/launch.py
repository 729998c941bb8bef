"""Start one training process a card with MindSpore's `msrun`, and end as they ended.

Adds to `msrun` what it lacks: the number of cards found, a free port, threads shared out on a CPU, Ctrl-C and SIGTERM
handed to the workers so that they can save, and the failing rank's last lines on the screen.
"""

import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from lightclip_ms.runtime.exits import ERROR_PREFIX, EXIT_BAD_INPUT, EXIT_STOPPED, STOPPED_PREFIX

CPU_WORKERS = 2
LAST_LINES = 15
HEARTBEAT_SECONDS = 15  # how long the scheduler waits for a dead worker; MindSpore's default is 30


def count_npus() -> int:
    """Ascend cards of this machine, by their device nodes."""
    return len([node for node in glob.glob("/dev/davinci*") if node.removeprefix("/dev/davinci").isdigit()])


def default_devices(device: str) -> int:
    """Processes to start on this machine when the user names no number."""
    npus = count_npus() if device in ("auto", "ascend") else 0
    if npus:
        return npus
    return 1 if device == "gpu" else min(CPU_WORKERS, os.cpu_count() or 1)


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def msrun_command(script: list[str], devices: int, log_dir: Path, environ) -> list[str]:
    """The `msrun` line for `devices` processes here; NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT join machines.

    Raises:
        ValueError: a multi-node job without address, port or rank.
    """
    nodes = int(environ.get("NNODES", "1"))
    command = [
        shutil.which("msrun", path=environ.get("PATH")) or "msrun",
        f"--worker_num={nodes * devices}",
        f"--local_worker_num={devices}",
        f"--log_dir={log_dir}",
        "--join=True",
        "--cluster_time_out=600",
    ]
    if nodes > 1:
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in environ]
        if missing:
            raise ValueError(f"NNODES={nodes} needs {', '.join(missing)} too, the same on every node but NODE_RANK")
        first = int(environ["NODE_RANK"]) * devices
        command += [
            f"--master_addr={environ['MASTER_ADDR']}",
            f"--master_port={environ['MASTER_PORT']}",
            f"--node_rank={environ['NODE_RANK']}",
            f"--tail_worker_log={first}",
        ]
    else:
        command += [f"--master_port={free_port()}", "--tail_worker_log=0"]
    return [*command, "python", *script]


def launch(script: list[str], devices: int, output_dir: str, device: str) -> int:
    """Run `script` (a file, or `-m` and a module, then arguments) on `devices` processes; returns the exit code.

    Raises:
        ValueError: see `msrun_command`.
    """
    environ = dict(os.environ)
    environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + environ.get("PATH", "")  # msrun runs "python"
    environ.setdefault("MS_NODE_TIMEOUT", str(HEARTBEAT_SECONDS))
    if not count_npus() or device == "cpu":
        environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // devices)))
    if devices == 1 and int(environ.get("NNODES", "1")) == 1:
        child = subprocess.Popen([sys.executable, *script], env=environ, start_new_session=True)
        return _wait(child, lambda child: [child.pid])
    log_dir = Path(output_dir) / "logs"
    command = msrun_command(script, devices, log_dir, environ)
    log_dir.mkdir(parents=True, exist_ok=True)
    node = int(environ.get("NODE_RANK", "0"))
    logs = [log_dir / f"worker_{rank}.log" for rank in range(node * devices, (node + 1) * devices)]
    for old in logs:  # those of this machine only: the folder is shared
        old.unlink(missing_ok=True)
    with open(log_dir / f"msrun_{node}.log", "wb") as log:
        code = _wait(subprocess.Popen(command, env=environ, start_new_session=True, stderr=log), _workers)
    return _explain(logs, code) if code else 0


def _wait(child: subprocess.Popen, workers) -> int:
    """Wait for `child`; Ctrl-C and SIGTERM go to the processes that `workers` lists, and the wait goes on."""

    def forward(number, frame):
        for pid in workers(child):
            os.kill(pid, signal.SIGTERM)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, forward)
    return child.wait()


def _workers(launcher: subprocess.Popen) -> list[int]:
    """Training processes under `msrun`: not its scheduler, which must outlive them, and not the log's `tail`."""
    pids = []
    for entry in glob.glob("/proc/[0-9]*"):
        try:
            parent = Path(entry, "stat").read_text().rpartition(")")[2].split()[1]
            environ = Path(entry, "environ").read_bytes().split(b"\0")
            command = Path(entry, "cmdline").read_bytes()
        except OSError:  # ended meanwhile, or somebody else's
            continue
        if int(parent) == launcher.pid and b"MS_ROLE=MS_WORKER" in environ and b"tail" not in command.split(b"\0")[0]:
            pids.append(int(entry.removeprefix("/proc/")))
    return pids


def _explain(logs: list[Path], code: int) -> int:
    """Print how the failing ranks ended, and return their exit code: `msrun` itself knows only 0 and 1."""
    said = {path: _said(path) for path in logs if path.exists()}
    if any(line.startswith(STOPPED_PREFIX) for lines in said.values() for line in lines[-LAST_LINES:]):
        return EXIT_STOPPED
    failed = {
        path: lines
        for path, lines in said.items()
        if any("Error" in line or line.startswith(ERROR_PREFIX) for line in lines[-LAST_LINES:])
    } or said
    for path, lines in failed.items():
        print(f"--- {path}, last lines:", *lines[-LAST_LINES:], sep="\n", file=sys.stderr, flush=True)
        if lines and lines[-1].startswith(ERROR_PREFIX):
            return EXIT_BAD_INPUT  # the same mistake on every rank: said once
    return code


def _said(log: Path) -> list[str]:
    """Lines of a worker's log without MindSpore's own."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if line and not line.startswith(("[INFO]", "[WARNING]", "[ERROR]"))]
