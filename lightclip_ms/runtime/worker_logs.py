"""The workers' own output, kept aside until the run has begun: a refused command leaves the last run's logs alone."""

import os
import shutil
import sys
from pathlib import Path

from lightclip_ms.runtime.exits import ERROR_PREFIX, EXIT_BAD_INPUT, EXIT_STOPPED, STOPPED_PREFIX

ASIDE = "LIGHTCLIP_LOGS"  # set by the launcher for its workers: where their output goes until `mark_begun`
LAST_LINES = 15
_BEGUN = "begun"


def mark_begun() -> None:
    """Called by workers when everything is checked and the run's folder may change.

    Raises:
        OSError: the folder cannot be written.
    """
    aside = os.environ.get(ASIDE)
    if aside is not None and os.path.isdir(aside):
        Path(aside, _BEGUN).touch()


class WorkerLogs:
    """The output of one machine's processes of a job, in `OUTPUT_DIR/logs` once the job has begun or ended.

    Args:
        output_dir: the run's folder.
        node: this machine's number.
        ranks: numbers of the workers on this machine.
    """

    def __init__(self, output_dir: str | os.PathLike, node: int, ranks: range):
        self.folder = Path(output_dir).absolute() / "logs"
        self.aside = self.folder.with_name(f".logs-{node}")
        self._launcher_log = f"msrun_{node}.log"
        self._names = [f"worker_{rank}.log" for rank in ranks]
        self._published = False

    def open(self):
        """Start anew; returns the file for `msrun`'s own messages. Raises OSError."""
        shutil.rmtree(self.aside, ignore_errors=True)  # of a launcher that was killed
        self.aside.mkdir(parents=True)
        return open(self.aside / self._launcher_log, "wb")

    def publish_if_begun(self) -> None:
        """Once a worker has called `mark_begun`, put the files in place: processes go on writing to them."""
        if not self._published and (self.aside / _BEGUN).exists():
            self._publish()

    def has_failed(self) -> bool:
        """Whether `msrun` has reported a failing worker."""
        path = (self.folder if self._published else self.aside) / self._launcher_log
        try:
            return b"exit with exception" in path.read_bytes()
        except OSError:
            return False

    def close(self, code: int) -> None:
        """After the job: put the files in place, unless it was refused before it had begun."""
        self.publish_if_begun()
        if not self._published and code != EXIT_BAD_INPUT:
            self._publish()
        shutil.rmtree(self.aside, ignore_errors=True)

    def _publish(self) -> None:
        self._published = True
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.aside.glob("*.log"):  # those of this machine only: the folder is shared
            os.rename(path, self.folder / path.name)
        shutil.rmtree(self.aside, ignore_errors=True)

    def explain(self, code: int, was_stopped: bool) -> int:
        """Print how the failing ranks ended, and return their exit code: `msrun` itself knows only 0 and 1.

        Args:
            code: how `msrun` ended.
            was_stopped: whether the launcher was asked to stop.
        """
        current = self.folder if self._published else self.aside
        said = {name: _said(current / name) for name in self._names if (current / name).exists()}
        if any(line.startswith(STOPPED_PREFIX) for lines in said.values() for line in lines[-LAST_LINES:]):
            return EXIT_STOPPED
        failed = {
            name: lines
            for name, lines in said.items()
            if any("Error" in line or line.startswith(ERROR_PREFIX) for line in lines[-LAST_LINES:])
        }
        if was_stopped and not failed:
            print(f"{STOPPED_PREFIX} before the first step; the same command starts again", file=sys.stderr, flush=True)
            return EXIT_STOPPED
        if not failed and (reason := self._unwritable()):
            print(f"{ERROR_PREFIX}{reason}", file=sys.stderr, flush=True)
            return EXIT_BAD_INPUT
        if not failed:
            text = "a worker was killed and could not say why, perhaps because the machine ran out of memory"
            print(f"{ERROR_PREFIX}{text}", file=sys.stderr, flush=True)
        for name, lines in (failed or said).items():
            if lines and lines[-1].startswith(ERROR_PREFIX):  # the same mistake on every rank: said once
                print(lines[-1], file=sys.stderr, flush=True)
                return EXIT_BAD_INPUT
            print(f"--- {self.folder / name}, last lines:", *lines[-LAST_LINES:], sep="\n", file=sys.stderr, flush=True)
        return code

    def _unwritable(self) -> str | None:
        """Why nothing can be written here: then the workers could not say why they ended either."""
        probe = self.folder.with_name(".probe")
        try:
            with open(probe, "wb") as file:
                file.write(bytes(1 << 16))
                os.fsync(file.fileno())
        except OSError as error:
            return f"{self.folder.parent}: could not be written: {error.strerror or error}"
        finally:
            probe.unlink(missing_ok=True)
        return None


def _said(log: Path) -> list[str]:
    """Lines of a worker's log without MindSpore's own."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if line and not line.startswith(("[INFO]", "[WARNING]", "[ERROR]"))]
