"""Worker processes: the same batches as threads make, the same reports, and nothing left behind whoever is killed."""

import dataclasses
import gc
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from lightclip_ms.config.schema import DataConfig
from lightclip_ms.data import Tokenizer, crew
from lightclip_ms.data.batch import CAPTIONS, LIGHTCLIP_PARTS
from lightclip_ms.data.batch_memory import BatchMemory
from lightclip_ms.data.packing import pack_groups
from lightclip_ms.data.pipeline import TrainData
from lightclip_ms.data.processes import process
from lightclip_ms.data.reading import ReadFailed
from lightclip_ms.data.shared_object import SharedObject, attach
from lightclip_ms.data.skipped import SkipReport
from lightclip_ms.data.threads import Threads
from tests import ROOT
from tests.data.data_files import encode, make_layout, picture, write_table, write_tar

TOKENIZER = Tokenizer(context_length=24, vocab_size=2048)
COUNT, BAD = 48, {5: b"", 11: b"not a picture", 12: b"", 30: encode(picture())[:400]}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """48 pairs in two shards, four of them bad."""
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(2):
        members = []
        for index in range(shard * COUNT // 2, (shard + 1) * COUNT // 2):
            image = BAD.get(index, encode(picture(index), quality=80))
            members += [(f"{index:03d}.jpg", image), (f"{index:03d}.txt", b"a red dog in picture %d" % index)]
        write_tar(folder / f"{shard}.tar", members)
    return str(folder)


def make(path, workers, groups=1, **config):
    layout = make_layout(32, 6, TOKENIZER, (*LIGHTCLIP_PARTS, "image_2", "text_2"))
    layout = dataclasses.replace(layout, groups=groups)
    return TrainData(DataConfig(train=path, workers=workers, **config), TOKENIZER, layout)


def children():
    """The worker processes of this one, which other tests gave other children."""
    found = psutil.Process().children()
    return [child for child in found if "worker_process" in str(child.as_dict(["cmdline"])["cmdline"])]


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


@pytest.fixture(scope="module")
def crews(shards):
    """The same data by threads and by three processes, which are started once."""
    assert crew.takes_processes(3) and not crew.takes_processes(crew.MOST_THREADS)
    both = make(shards, crew.MOST_THREADS), make(shards, 3)
    yield both
    both[1].close()
    wait_until(lambda: not children())


def same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_batches_reports_and_resuming_are_those_of_threads(crews, caplog):
    threads, processes = crews
    for epoch, start in ((0, 0), (1, 5)):
        wanted, found = (list(data.epoch(epoch, start)) for data in crews)
        assert len(found) == 8 - start
        for first, second in zip(wanted, found):
            same(first, second)
    whole = list(processes.epoch(1))
    same(whole[6], list(threads.epoch(1, 6))[0])
    assert threads.skipped == processes.skipped == {"empty image file": 2, "undecodable image": 2}
    assert caplog.text.count("0.tar: 005") == 2  # named once by each
    assert len(children()) == 3  # they stay for the next epoch
    used = {index for batch in whole for index in batch["index"].tolist()}
    assert not used & set(BAD) and processes.key(30).endswith("1.tar: 030")


def test_a_worker_loads_neither_mindspore_nor_the_main_module(crews):
    next(crews[1].epoch(0))
    assert len(children()) == 3
    for worker in children():
        assert not any("mindspore" in part.path for part in worker.memory_maps())
        assert "pytest" not in " ".join(worker.cmdline())


def test_leaving_early_and_two_epochs_at_once(crews):
    threads, processes = crews
    first, second = processes.epoch(2), processes.epoch(3)  # the second needs workers of its own
    same(next(first), next(threads.epoch(2)))
    same(next(second), next(threads.epoch(3)))
    first.close()
    del second
    for found, wanted in zip(processes.epoch(4), threads.epoch(4)):
        same(found, wanted)


def test_pictures_are_not_copied_unless_many_batches_are_kept(crews):
    kept = []
    for batch in crews[1].epoch(0):
        kept.append(batch["image"])
    assert kept[0].base is not None and not kept[0].flags.owndata and kept[-1].flags.owndata
    for held, wanted in zip(kept, crews[0].epoch(0)):
        np.testing.assert_array_equal(held, wanted["image"])


def test_without_shared_memory_threads_do_the_work(monkeypatch, shards, crews):
    monkeypatch.setattr(crew, "can_be_shared", lambda: False)
    before = set(children())
    same(next(make(shards, 3).epoch(0)), next(crews[0].epoch(0)))
    assert set(children()) == before


@pytest.mark.parametrize("groups", [1, 2])
def test_workers_pack_the_captions_of_a_batch_whether_they_fit_or_not(shards, groups):
    rows = {"fit": 12 // groups, "do not fit": 2}
    for workers in (crew.MOST_THREADS, 3):
        data = make(shards, workers, groups=groups)
        plain = list(data.epoch(0))
        for how, count in rows.items():
            data.pack_captions(count)  # the processes of the epoch before do not pack
            batches = list(data.epoch(0))
            for batch, unpacked in zip(batches, plain, strict=True):
                captions = [unpacked[name] for name in CAPTIONS]
                same(batch, unpacked | pack_groups(captions, TOKENIZER.eot_id, count, groups))
                assert len(batch["packed_ids"]) == (count * groups if how == "fit" else 18)
        data.close()


def test_a_slot_is_free_again_when_its_arrays_are_gone():
    layout = make_layout(8, 2, TOKENIZER)
    memory = BatchMemory(layout, 2)
    first, second = memory.take(), memory.take()
    memory.give_back(second)
    row = memory.hand_over(first)["image"][1:]
    assert memory.take() == second
    with pytest.raises(IndexError):
        memory.take()
    del row
    gc.collect()
    assert memory.take() == first


def test_arrays_of_a_shared_object_exist_once():
    report = SkipReport()
    report.counts["x"] = 3
    values = {"long": np.arange(100_000), "none": np.zeros(0), "turned": np.ones((3, 4)).T[::2], "report": report}
    shared = SharedObject(values)
    copy = attach(shared.handle)
    for name in ("long", "none", "turned"):
        np.testing.assert_array_equal(copy[name], values[name])
    assert not copy["long"].flags.owndata and not copy["report"].counts and len(shared.handle[0]) < 2000
    assert os.fstat(shared.descriptor).st_size >= 800_000


def test_errors_name_the_sample_and_end_the_workers(shards, tmp_path):
    rows = [["filepath", "title"], *([f"{i}.jpg", "text"] for i in range(24))]
    for i in range(24):
        (tmp_path / f"{i}.jpg").write_bytes(b"")
    before = set(children())
    empty = make(write_table(tmp_path / "t.csv", rows), 3, max_bad_fraction=1.0)
    with pytest.raises(ValueError, match=r"t.csv: 32 in a row records .*empty image file"):
        next(empty.epoch(0))
    limited = make(str(tmp_path / "t.csv"), 3)
    with pytest.raises(ValueError, match=r"t.csv: 3 of the first \d+ records .*max_bad_fraction"):
        next(limited.epoch(0))
    wait_until(lambda: set(children()) == before)


class FailingSamples:
    """In place of `Samples`; workers import this file for it."""

    def fill(self, rows, indices, epoch):
        raise ReadFailed("a.tar: gone") if epoch else KeyError("surprise")


def test_exceptions_of_a_worker_keep_their_type_and_trace():
    layout, samples = make_layout(8, 2, TOKENIZER), SharedObject(FailingSamples())
    memory = BatchMemory(layout, 2)
    with Threads(1, lambda: process(samples, layout, memory)) as pool:
        for epoch, kind in ((1, ReadFailed), (0, KeyError)):
            with pytest.raises(kind, match="gone|surprise") as error:
                pool.results([pool.submit("fill", 0, 0, np.arange(2), epoch)], "data")
            assert "in fill" in str(error.value.__cause__)


def test_a_killed_worker_stops_the_run_with_one_line(shards):
    before = set(children())
    data = make(shards, 3)
    batches = data.epoch(0)
    next(batches)
    for worker in set(children()) - before:
        worker.kill()
    with pytest.raises(OSError, match="worker process .* signal 9, perhaps for want of memory"):
        list(batches)
    wait_until(lambda: set(children()) == before)
    assert len(list(data.epoch(0, 6))) == 2  # with new ones
    data.close()


PARENT = """
import os, sys, time
from lightclip_ms.config.schema import DataConfig
from lightclip_ms.data import Tokenizer
from lightclip_ms.data.pipeline import TrainData
from tests.data.data_files import make_layout
import psutil
tokenizer = Tokenizer(24, 2048)
data = TrainData(DataConfig(train=sys.argv[1], workers=3), tokenizer, make_layout(32, 6, tokenizer))
batches = data.epoch(0)  # no guard: workers must not run this again
next(batches)
print(*(child.pid for child in psutil.Process().children()), flush=True)
if sys.argv[2] != "end":
    time.sleep(60)
"""


@pytest.mark.parametrize("way", ["end", "kill", "interrupt"])
def test_no_process_and_no_memory_stays_behind(shards, tmp_path, way):
    script = tmp_path / "unguarded.py"
    script.write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(script), shards, way],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    workers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    # Memory without a name: nothing that could be left in /dev/shm.
    assert len(workers) == 3 and not any("/dev/shm" in part.path for each in workers for part in each.memory_maps())
    if way == "kill":
        parent.kill()
    elif way == "interrupt":
        os.killpg(parent.pid, signal.SIGINT)  # what a terminal does
    errors = parent.communicate(timeout=30)[1]
    wait_until(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in workers))
    assert errors.count("Traceback") == (way == "interrupt") and ("KeyboardInterrupt" in errors) == (way == "interrupt")
