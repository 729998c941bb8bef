"""Turns pairs of any source into MindRecord files with a manifest: in parallel, and resumable file by file."""

import collections
import dataclasses
import functools
import json
import logging
import os
import pathlib
import shutil
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context

from lightclip_ms.data.decode import MIN_SIDE, EncodedImage
from lightclip_ms.data.mindrecord import MAX_IMAGE_BYTES, write_mindrecord
from lightclip_ms.data.pairs import open_pairs
from lightclip_ms.data.skipped import BadRecord, SkipReport
from lightclip_ms.data.workers import start_worker
from lightclip_ms.runtime.files import sha256, write_json

MANIFEST = "manifest.json"
_LENGTH_CLASSES = ((1, 2), (3, 5), (6, 10), (11, 20), (21, 40), (41, 75))


@dataclass(frozen=True)
class Settings:
    """What decides the content of the files; resuming needs the same."""

    source: str
    format: str = "auto"
    image_key: str = "filepath"
    caption_key: str = "title"
    separator: str = ""
    pairs_per_file: int = 10_000
    min_side: int = MIN_SIDE  # pixels; smaller pictures are dropped

    def __post_init__(self):
        if self.pairs_per_file < 1 or self.min_side < 1:
            raise ValueError(
                f"pairs per file and smallest side must be positive, got {self.pairs_per_file} and {self.min_side}"
            )


@dataclass(frozen=True)
class Share:
    """Part `number` of `of` parts of the work, counted from 1; several machines may work on one folder."""

    number: int = 1
    of: int = 1

    def __post_init__(self):
        if not 1 <= self.number <= self.of:
            raise ValueError(f"part {self.number}/{self.of} is not possible: use 1/N to N/N")


def prepare(settings: Settings, output: str, workers: int, progress, share: Share = Share()) -> dict | None:
    """Write this part's files that are not there yet, and the manifest once the files of all parts are there.

    Args:
        output: folder for `00000.mindrecord`, ... each with its `.db` and a `.json` of what is in it. Parts on other
            machines share it; no file belongs to two of them.
        progress: called with (pairs read, of pairs in this part) after every file.

    Returns:
        the manifest; None while another part has files to write.

    Raises:
        FileNotFoundError, ValueError: no usable source, or a folder with files of another source or other settings.
        RuntimeError: a worker process died.
    """
    source = open_pairs(settings.source, settings.format, settings.image_key, settings.caption_key, settings.separator)
    count, per_file = len(source), settings.pairs_per_file
    folder = pathlib.Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    identity = {**dataclasses.asdict(settings), "source": os.path.abspath(settings.source), "pairs_in_source": count}
    starts = range(0, count, per_file)
    own = starts[share.number - 1 :: share.of]  # every N-th file: equal work, whatever the order of the source
    parts = {start: _finished(_facts(folder, number), identity) for number, start in enumerate(starts)}
    waiting = [start for start in own if parts[start] is None]
    total = sum(min(per_file, count - start) for start in own)
    done = total - sum(min(per_file, count - start) for start in waiting)
    progress(done, total)
    # A fresh interpreter for each worker: forking a process in which MindSpore's threads run can deadlock.
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) as pool:
        tasks = {
            pool.submit(_write_file, settings, identity, start, folder / f"{start // per_file:05d}"): start
            for start in waiting
        }
        try:
            for task in as_completed(tasks):
                start = tasks[task]
                parts[start] = task.result()
                done += min(per_file, count - start)
                progress(done, total)
        except BrokenProcessPool:
            raise RuntimeError(
                "a worker process died, perhaps for want of memory; the same command continues where "
                "it stopped, use fewer workers"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    # Read again what other parts have finished meanwhile: the last one to end writes the manifest. Two that end at once
    # write the same one.
    finished = [parts[start] or _finished(_facts(folder, start // per_file), identity) for start in starts]
    if any(part is None for part in finished):
        return None
    return _write_manifest(folder, identity, finished, source.report)


def _facts(folder: pathlib.Path, number: int) -> pathlib.Path:
    """The `.json` of file `number`."""
    return folder / f"{number:05d}.json"


def _start_worker() -> None:
    start_worker()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # end at once on Ctrl-C, without a trace
    logging.getLogger("lightclip_ms.data").setLevel(logging.ERROR)  # the report of the whole names what was dropped


def _finished(part: pathlib.Path, identity: dict) -> dict | None:
    """Content of a file's `.json`, which is written last, or None if there is none yet."""
    try:
        found = json.loads(part.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise ValueError(f"{part}: damaged; delete it and run again") from None
    different = [key for key, value in identity.items() if found["settings"].get(key) != value]
    if different:
        key = different[0]
        raise ValueError(
            f"{part.parent}: holds files made with {key} {found['settings'].get(key)!r}, not "
            f"{identity[key]!r}: use another folder or delete it"
        )
    return found


@functools.lru_cache(maxsize=1)
def _source(settings: Settings):
    return open_pairs(settings.source, settings.format, settings.image_key, settings.caption_key, settings.separator)


def _write_file(settings: Settings, identity: dict, start: int, target: pathlib.Path) -> dict:
    """Write one file with its index aside, move both into place, and last what they hold as `.json`."""
    source, report, lengths = _source(settings), SkipReport(), collections.Counter()

    def checked_pairs():
        for index in range(start, min(start + settings.pairs_per_file, len(source))):
            try:
                pair = source.read(index)
                _check_image(pair.image, settings.min_side)
            except BadRecord as error:
                report.add(error.reason, source.key(index), error.detail)
            else:
                lengths[_length_class(pair.caption)] += 1
                yield source.key(index), pair

    aside = target.with_suffix(".partial")  # a folder: MindRecord stores the file's own name inside
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    path = aside / f"{target.name}.mindrecord"
    kept = write_mindrecord(str(path), checked_pairs())
    files = {}
    for written in sorted(aside.iterdir()):  # none if every pair was bad
        written.chmod(aside.stat().st_mode & 0o666)  # MindSpore makes them private, the user's umask decides
        files[written.name] = {"bytes": written.stat().st_size, "sha256": sha256(written)}
        os.replace(written, target.parent / written.name)
    aside.rmdir()
    part = {
        "settings": identity,
        "pairs": kept,
        "files": files,
        "caption_words": lengths,
        "dropped": report.counts,
        "examples": report.examples,
    }
    write_json(target.with_suffix(".json"), part)
    return part


def _check_image(data: bytes, min_side: int) -> None:
    if len(data) > MAX_IMAGE_BYTES:
        raise BadRecord("image file too large", f"{len(data)} bytes")
    image = EncodedImage(data)
    if min(image.height, image.width) < min_side:
        raise BadRecord("image too small", f"{image.width}x{image.height}")
    image.draft(reduction=8)  # reads all of the data, computes few of the pixels


def _length_class(caption: str) -> str:
    words = len(caption.split())
    return next((f"{low}-{high}" for low, high in _LENGTH_CLASSES if words <= high), f"{_LENGTH_CLASSES[-1][1] + 1}+")


def _write_manifest(folder: pathlib.Path, identity: dict, parts: list[dict], opened: SkipReport) -> dict:
    dropped, lengths, examples = collections.Counter(opened.counts), collections.Counter(), opened.examples
    for part in parts:
        dropped.update(part["dropped"])
        lengths.update(part["caption_words"])
        for reason, names in part["examples"].items():
            examples[reason] = (examples.get(reason, []) + names)[:3]
    order = [f"{low}-{high}" for low, high in _LENGTH_CLASSES] + [f"{_LENGTH_CLASSES[-1][1] + 1}+"]
    manifest = {
        "settings": identity,
        "pairs": sum(part["pairs"] for part in parts),
        "dropped": dict(dropped.most_common()),
        "mended": dict(opened.notes.most_common()),
        "examples": examples,
        "caption_words": {name: lengths[name] for name in order if lengths[name]},
        "files": {name: facts for part in parts for name, facts in part["files"].items()},
    }
    if not manifest["pairs"]:
        raise ValueError(f"{identity['source']}: not one usable pair; dropped: {manifest['dropped']}")
    write_json(folder / MANIFEST, manifest)
    return manifest


def verify(folder: str) -> list[str]:
    """What of a prepared folder differs from its manifest: one line a file, none if all is well."""
    root = pathlib.Path(folder)
    problems = []
    for name, facts in json.loads((root / MANIFEST).read_text(encoding="utf-8"))["files"].items():
        path = root / name
        if not path.is_file():
            problems.append(f"{path}: missing")
        elif path.stat().st_size != facts["bytes"] or sha256(path) != facts["sha256"]:
            problems.append(f"{path}: not the file that the manifest describes")
    return problems
