"""TensorBoard's event files, written at once.

tensorboardX's `SummaryWriter` hands events to a thread; when that thread meets a full disk it dies, and the program
blocks for ever on its queue. Its synchronous parts have no such trap.
"""

import contextlib
import os
import time
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar


class EventFile:
    """Scalars over steps in a new event file of `folder`.

    Args:
        first_step: what earlier files of the folder have from this step on is not shown.

    Raises:
        OSError: the folder cannot be written; the message names it.
    """

    def __init__(self, folder: str | os.PathLike, first_step: int):
        self.folder = Path(folder)
        with self._named():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(self.folder / "events"))
            self._write(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))
            self._writer.flush()

    def add(self, group: str, records: list[dict]) -> None:
        """One curve `group/key` for each number of the records, over their `step`."""
        with self._named():
            for record in records:
                for key, value in record.items():
                    if key != "step":
                        self._write(Event(step=record["step"], summary=scalar(f"{group}/{key}", value)))
            self._writer.flush()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)

    @contextlib.contextmanager
    def _named(self):
        try:
            yield
        except OSError as error:
            with contextlib.suppress(OSError, AttributeError):  # else the rest of its buffer fails once more at exit
                self._writer.close()
            raise OSError(f"{self.folder}: could not be written: {error.strerror or error}") from error
