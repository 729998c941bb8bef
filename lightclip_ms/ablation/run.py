"""Runs the cells of a grid, one after another or side by side; a stopped grid continues where it stopped.

Every cell is a training run in a process of its own, then its evaluation in another. Its `cell.json` says that it is
finished.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from lightclip_ms.ablation.grid import Cell, Grid
from lightclip_ms.config.file import from_dict, load_config, to_dict
from lightclip_ms.config.schema import Config
from lightclip_ms.runtime.files import write_json

RESULT = "cell.json"
SCRIPTS = Path(__file__).parents[2] / "scripts"


class CellFailed(RuntimeError):
    """A cell's process ended with an error; the message names its log."""


def read_results(grid: Grid, out: str) -> dict[str, dict]:
    """Results of the finished cells by folder.

    Raises:
        ValueError: a finished cell is of another grid: another configuration or other test data.
    """
    results = {}
    for cell in grid.cells():
        path = Path(out, cell.folder, RESULT)
        if path.is_file():
            result = _read(path)
            if _completed(result["made_of"]) != _made_of(grid, cell):
                raise ValueError(f"{path}: made with other settings; use another --out, or remove that run folder")
            results[cell.folder] = result
    return results


def estimate_minutes(grid: Grid, results: dict[str, dict], parallel: int = 1) -> float:
    """What the cells that are left will take: the mean of those that are finished, or what the grid says of one."""
    left = len(grid.cells()) - len(results)
    taken = [result["seconds"] / 60 for result in results.values()]
    return left * (sum(taken) / len(taken) if taken else grid.minutes) / parallel


class Runner:
    """Runs every cell that has no result yet.

    Args:
        out: folder of the grid; each cell's run folder is in it.
        devices: processes of one training run. parallel: cells at a time.
    """

    def __init__(self, grid: Grid, out: str, devices: int = 1, parallel: int = 1):
        self.grid, self.out, self.devices, self.parallel = grid, out, devices, parallel
        self._children, self._stopped, self._failure = set(), False, None

    def run(self, finished: Callable[[dict[str, dict]], None]) -> None:
        """Run to the end; `finished` gets all results so far after each cell, one call at a time.

        Raises:
            CellFailed: the first failure, after the cells under way ended.
            KeyboardInterrupt: the user stopped it; the cells under way have saved and ended.
        """
        done = read_results(self.grid, self.out)
        todo = [cell for cell in self.grid.cells() if cell.folder not in done]
        with ThreadPoolExecutor(self.parallel) as pool:
            try:
                for cell in as_completed([pool.submit(self._work, cell) for cell in todo]):
                    if cell.result():
                        finished(read_results(self.grid, self.out))
            except BaseException:
                self.stop()
                raise
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        """Ask the processes under way to save and end, and start no more."""
        self._stopped = True
        for child in list(self._children):
            child.terminate()

    def _work(self, cell: Cell) -> bool:
        """Whether the cell was run to its end."""
        if self._stopped or self._failure:
            return False
        try:
            self._run_cell(cell)
        except CellFailed as failure:
            self._failure = self._failure or failure
            return False
        return True

    def _run_cell(self, cell: Cell) -> None:
        folder = Path(self.out, cell.folder)
        folder.mkdir(parents=True, exist_ok=True)
        log, trained, scores = folder / "cell.log", folder / "trained.json", folder / "scores.json"
        if not trained.is_file():
            began = time.monotonic()
            train = [str(SCRIPTS / "train.py"), "--config", self.grid.config]
            train += ["--devices", str(self.devices)] if self.devices > 1 else []
            # No evaluation in between: it would take time from the comparison and choose nothing.
            self._call([*train, *cell.overrides, "train.eval_epochs=0", f"output_dir={folder}"], log)
            write_json(trained, {"seconds": round(time.monotonic() - began, 1)})
        test = [folder, self.grid.test_kind, self.grid.test, scores]
        self._call(["-m", "lightclip_ms.ablation.evaluate", *map(str, test)], log)
        described = {"row": cell.row, "encoder": cell.encoder, "seed": cell.seed, "made_of": _made_of(self.grid, cell)}
        write_json(folder / RESULT, {**described, **_read(trained), **_read(scores)})

    def _call(self, arguments: list[str], log: Path) -> None:
        """Run a process that appends to `log`."""
        paths = filter(None, (str(SCRIPTS.parent), os.environ.get("PYTHONPATH")))
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        with open(log, "a", encoding="utf-8") as file:
            child = subprocess.Popen([sys.executable, *arguments], stdout=file, stderr=file, env=environ)
        self._children.add(child)
        code = child.wait()
        self._children.discard(child)
        if code:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            last = next((line for line in reversed(lines) if line.strip()), "no output")
            raise CellFailed(f"{log}: ended with code {code}: {last}")


def _made_of(grid: Grid, cell: Cell) -> dict:
    """What decides a cell's result: its whole configuration without what may differ between machines, and its test."""
    config = _deciding(load_config(grid.config, cell.overrides))
    return {"config": config, "test": grid.test, "test_kind": grid.test_kind}


def _completed(made_of: dict) -> dict:
    """`made_of` of an earlier version with the defaults of the keys that it did not have yet."""
    try:
        return {**made_of, "config": _deciding(from_dict(made_of["config"]))}
    except ValueError:
        return made_of  # with a key that is gone, it is of another grid


def _deciding(config: Config) -> dict:
    config = to_dict(config)
    for key in ("output_dir", "device", "resume"):
        del config[key]
    del config["data"]["workers"]
    return config


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
