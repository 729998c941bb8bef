"""Start one training process per device with MindSpore's `msrun`, and end as they ended.

Adds to `msrun` what it lacks: the number of devices found, a free port, threads shared out on a CPU, a lock on the
run's folder, and supervision (see supervise.py).
"""

import os
import shutil
import socket
import subprocess
import sys
import uuid
from pathlib import Path

from lightclip_ms.runtime import folder_lock, lifeline, worker_logs
from lightclip_ms.runtime.cluster_variables import drop_leftovers
from lightclip_ms.runtime.exits import ERROR_PREFIX, EXIT_STOPPED, STOPPED_PREFIX
from lightclip_ms.runtime.npus import check_devices, visible_npus
from lightclip_ms.runtime.requirements import check_requirements
from lightclip_ms.runtime.supervise import Supervisor

CPU_WORKERS = 2
HCCL_SECONDS = 600  # how long ranks wait for each other to connect; HCCL's default is 120
HEARTBEAT_SECONDS = 15  # how long the scheduler waits for a dead worker; MindSpore's default is 30


def default_devices(device: str) -> int:
    """Processes to start on this machine when the user names no number.

    Raises:
        ValueError: the list of visible cards is wrong, or empty where `device` is ascend.
    """
    npus = len(visible_npus()) if device in ("auto", "ascend") else 0
    if device == "ascend" and not npus:
        raise ValueError("device: ascend, but no NPU is visible; scripts/doctor.py shows why")
    if npus:
        return npus
    return 1 if device == "gpu" else min(CPU_WORKERS, os.cpu_count() or 1)


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def msrun_command(script: list[str], devices: int, log_dir: Path, environ, bind_cores: bool = False) -> list[str]:
    """The `msrun` line for `devices` processes here; NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT join machines.

    With `bind_cores` every rank keeps to the processor cores near its card, its loader's threads among them.

    Raises:
        ValueError: a multi-node job without address, port or rank.
    """
    nodes, node = _nodes(environ)
    command = [
        shutil.which("msrun", path=environ.get("PATH")) or "msrun",
        f"--worker_num={nodes * devices}",
        f"--local_worker_num={devices}",
        f"--log_dir={log_dir}",
        "--join=True",
        "--cluster_time_out=600",
        *(["--bind_core=True"] if bind_cores else []),
    ]
    if nodes > 1:
        command += [
            f"--master_addr={environ['MASTER_ADDR']}",
            f"--master_port={environ['MASTER_PORT']}",
            f"--node_rank={node}",
            f"--tail_worker_log={node * devices}",
        ]
    else:
        command += [f"--master_port={free_port()}", "--tail_worker_log=0"]
    return [*command, "python", *script]


def _nodes(environ) -> tuple[int, int]:
    """Number of machines, and which of them this one is.

    Raises:
        ValueError: NNODES without the variables it needs, or one that is no number or out of range.
    """
    nodes = _number(environ, "NNODES", 1, None) if "NNODES" in environ else 1
    if nodes == 1:
        return 1, 0
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in environ]
    if missing:
        raise ValueError(f"NNODES={nodes} needs {', '.join(missing)} too, the same on every node but NODE_RANK")
    _number(environ, "MASTER_PORT", 1, 65535)
    return nodes, _number(environ, "NODE_RANK", 0, nodes - 1)


def _number(environ, name: str, low: int, high: int | None) -> int:
    text = environ[name]
    if not (text.isascii() and text.isdigit()) or int(text) < low or (high is not None and int(text) > high):
        raise ValueError(f"{name}={text}: use a number from {low}{'' if high is None else f' to {high}'}")
    return int(text)


def job_name(nodes: int, environ) -> str:
    """What identifies a job on all its machines: where its scheduler is. One machine's job has a random name."""
    if nodes == 1:
        return uuid.uuid4().hex
    address = environ["MASTER_ADDR"]
    if address in ("0.0.0.0", "localhost", "::", "::1") or address.startswith("127."):  # several "nodes" of one machine
        address = socket.gethostname()
    return f"{address}:{environ['MASTER_PORT']}"


def launch(script: list[str], devices: int, output_dir: str, device: str) -> int:
    """Run `script` (a file, or `-m` and a module, then arguments) on `devices` processes; returns the exit code.

    Raises:
        ValueError: see `msrun_command`. OSError: another run holds `output_dir`, or it cannot be written.
        UnsupportedEnvironment: see `requirements`.
    """
    check_requirements()
    environ = dict(os.environ)
    drop_leftovers(environ)
    environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + environ.get("PATH", "")  # msrun runs "python"
    environ.setdefault("MS_NODE_TIMEOUT", str(HEARTBEAT_SECONDS))
    check_devices(devices, device)
    on_npus = bool(visible_npus()) and device in ("auto", "ascend")
    if on_npus:
        environ.setdefault("HCCL_CONNECT_TIMEOUT", str(HCCL_SECONDS))
    else:
        environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // devices)))
    nodes, node = _nodes(environ)
    job = job_name(nodes, environ)
    environ |= {folder_lock.JOB: job, lifeline.LAUNCHER: lifeline.identity()}
    # Node 0 holds the folder for all machines; each other one has a lock of its own against its second start.
    locks = [folder_lock.join(output_dir, job)] if node else []
    locks.append(folder_lock.take(output_dir, job, folder_lock.name_of_node(node)))
    try:
        if devices == nodes == 1:
            return _run_alone(script, environ)
        return _run_msrun(script, devices, output_dir, nodes, node, environ, on_npus)
    finally:
        for lock in reversed(locks):
            lock.release()


def _run_alone(script: list[str], environ: dict) -> int:
    supervisor = Supervisor(
        subprocess.Popen([sys.executable, *script], env=environ, start_new_session=True), is_msrun=False
    )
    code = supervisor.wait()
    if code >= 0:
        return code
    if supervisor.was_stopped:
        print(f"{STOPPED_PREFIX} before the first step; the same command starts again", file=sys.stderr)
        return EXIT_STOPPED
    print(f"{ERROR_PREFIX}the training process was ended by signal {-code}", file=sys.stderr)
    return 1


def _run_msrun(
    script: list[str], devices: int, output_dir: str, nodes: int, node: int, environ: dict, bind_cores: bool
) -> int:
    logs = worker_logs.WorkerLogs(output_dir, node, range(node * devices, (node + 1) * devices))
    environ[worker_logs.ASIDE] = str(logs.aside)
    command = msrun_command(script, devices, logs.aside, environ, bind_cores)
    code = 1
    try:
        with logs.open() as own_log:
            child = subprocess.Popen(
                command,
                env=environ,
                start_new_session=True,
                stdout=subprocess.PIPE,
                stderr=own_log,
                preexec_fn=lifeline.end_with_parent,  # its workers then notice, see lifeline.py
            )
            supervisor = Supervisor(child, is_msrun=True)
            code = abs(supervisor.wait(logs.publish_if_begun, logs.has_failed))
        if code:
            code = 1 if supervisor.failure else logs.explain(1, supervisor.was_stopped)
        return code
    finally:
        logs.close(code)
