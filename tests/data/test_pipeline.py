"""Training batches: counting, determinism, resumption, bad records, and a clean end whatever happens.

By threads, however many; `test_processes.py` compares processes with them.
"""

import dataclasses
import threading
import time

import numpy as np
import pytest

from lightclip_ms.config.schema import AugmentConfig, DataConfig
from lightclip_ms.data import Tokenizer, crew
from lightclip_ms.data.batch import LIGHTCLIP_PARTS
from lightclip_ms.data.pipeline import TrainData
from tests.data.data_files import encode, make_layout, picture, write_table, write_tar

WORDS = "red blue green small large dog cat bird tree house river stone cloud".split()
TOKENIZER = Tokenizer(context_length=24, vocab_size=2048)
SIZES = [9, 3, 17, 1, 10]  # uneven shards, 40 samples


def caption(index):
    rng = np.random.default_rng([1, index])
    return " ".join(rng.choice(WORDS, rng.integers(3, 9)))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """40 pairs in uneven shards; sample i is named by i."""
    folder, index = tmp_path_factory.mktemp("shards"), 0
    for shard, size in enumerate(SIZES):
        members = []
        for _ in range(size):
            members += [
                (f"{index:03d}.jpg", encode(picture(index), quality=80)),
                (f"{index:03d}.txt", caption(index).encode()),
            ]
            index += 1
        write_tar(folder / f"{shard}.tar", members)
    return str(folder / "{0..4}.tar")


@pytest.fixture(autouse=True)
def no_wordnet(monkeypatch):
    """The same captions on every machine."""
    monkeypatch.setattr("lightclip_ms.data.text_augment.find_wordnet", lambda folder: None)


@pytest.fixture(autouse=True)
def only_threads(monkeypatch):
    monkeypatch.setattr(crew, "MOST_THREADS", 1024)


@pytest.fixture(autouse=True)
def no_threads_stay():
    yield
    deadline = time.monotonic() + 5
    while (
        left := [t.name for t in threading.enumerate() if t.name.startswith("lightclip-data")]
    ) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left


def make(path, batch_size=4, workers=1, augment=AugmentConfig(), seed=0, rank=0, world_size=1, **config):
    config = DataConfig(train=path, workers=workers, shuffle_window=2, augment=augment, **config)
    return TrainData(
        config, TOKENIZER, make_layout(32, batch_size, TOKENIZER), seed=seed, rank=rank, world_size=world_size
    )


def by_sample(batches):
    """Sample index to everything that belongs to it."""
    return {
        int(i): {name: batch[name][row] for name in batch} for batch in batches for row, i in enumerate(batch["index"])
    }


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_batch_layout(shards):
    data = make(shards)
    batches = list(data.epoch(0))
    assert data.num_samples == 40 and data.steps_per_epoch == len(batches) == 10
    shapes = {name: (array.shape, array.dtype) for name, array in batches[0].items()}
    assert shapes == {
        "image": ((4, 32, 32, 3), np.uint8),
        "text": ((4, 24), np.int32),
        "masked_text": ((4, 24), np.int32),
        "mlm_positions": ((4, 4), np.int32),
        "mlm_labels": ((4, 4), np.int32),
        "mlm_weights": ((4, 4), np.float32),
        "index": ((4,), np.int32),
    }
    assert data.key(12) == f"{shards.replace('{0..4}', '2')}: 012"
    for sample, found in by_sample(batches).items():
        words = set(TOKENIZER.decode(found["text"]).split())
        assert len(words & set(caption(sample).split())) >= 1  # its own caption, augmented
        chosen = found["mlm_weights"] > 0
        assert chosen.any()
        np.testing.assert_array_equal(found["text"][found["mlm_positions"][chosen]], found["mlm_labels"][chosen])
        same = np.ones(24, bool)
        same[found["mlm_positions"][chosen]] = False
        np.testing.assert_array_equal(found["text"][same], found["masked_text"][same])


def test_without_augmentation_the_picture_and_caption_come_through(shards):
    plain = AugmentConfig(
        crop_scale=(1.0, 1.0),
        crop_ratio=(4 / 3, 4 / 3),
        jitter_p=0.0,
        grayscale_p=0.0,
        blur_p=0.0,
        flip_p=0.0,
        text_p=0.0,
    )
    for sample, found in by_sample(make(shards, augment=plain).epoch(0)).items():
        assert TOKENIZER.decode(found["text"]) == caption(sample)
        thumbnail = picture(sample)[::15, ::20].astype(float).mean((0, 1))
        assert np.abs(found["image"].mean((0, 1)) - thumbnail).max() < 25


def test_further_views_have_seeds_of_their_own_and_leave_the_first_as_it_was(shards):
    augment = AugmentConfig(text_p=0.0)  # of the first captions
    plain = by_sample(make(shards, augment=augment).epoch(0))
    layout = make_layout(32, 4, TOKENIZER, (*LIGHTCLIP_PARTS, "image_2", "image_3", "text_2"))

    def views(workers, epoch=0, **changes):
        config = DataConfig(shards, workers=workers, shuffle_window=2, augment=dataclasses.replace(augment, **changes))
        return by_sample(TrainData(config, TOKENIZER, layout).epoch(epoch))

    first, again, later, kept = views(1), views(3), views(1, epoch=1), views(1, text_view_p=0.0)
    changed = 0
    for sample, found in first.items():
        assert_same(found, again[sample])
        assert_same({name: found[name] for name in plain[sample]}, plain[sample])
        pictures = [found[name] for name in ("image", "image_2", "image_3")] + [later[sample]["image_2"]]
        assert len({each.tobytes() for each in pictures}) == 4
        changed += not np.array_equal(found["text_2"], found["text"])
        np.testing.assert_array_equal(kept[sample]["text_2"], found["text"])
    assert changed > 25  # random deletion may delete nothing


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_every_sample_once_over_all_cards_and_workers(shards, world):
    for workers in (1, 4):
        seen, steps = [], set()
        for rank in range(world):
            batches = list(make(shards, batch_size=2, workers=workers, rank=rank, world_size=world).epoch(3))
            steps.add(len(batches))
            seen += [int(i) for batch in batches for i in batch["index"]]
        assert steps == {40 // (2 * world)} and len(seen) == len(set(seen)) == 40 // (2 * world) * 2 * world


def test_workers_cards_and_batches_do_not_change_a_sample(shards):
    reference = by_sample(make(shards).epoch(1))
    assert len(reference) == 40
    runs = [by_sample(make(shards, workers=workers).epoch(1)) for workers in (2, 3, 4)]
    runs += [
        {
            k: v
            for rank in range(2)
            for k, v in by_sample(make(shards, batch_size=10, rank=rank, world_size=2).epoch(1)).items()
        }
    ]
    for run in runs:
        assert run.keys() == reference.keys()
        for sample in run:
            assert_same(run[sample], reference[sample])


def test_epochs_and_seeds_differ(shards):
    data = make(shards)
    first, second, other = by_sample(data.epoch(0)), by_sample(data.epoch(1)), by_sample(make(shards, seed=1).epoch(0))
    assert list(first) != list(second) and list(first) != list(other)
    for run in (second, other):
        assert sum(np.array_equal(first[i]["image"], run[i]["image"]) for i in range(40)) == 0
        assert sum(np.array_equal(first[i]["masked_text"], run[i]["masked_text"]) for i in range(40)) < 10


@pytest.mark.parametrize("start", [1, 4, 9, 10])
def test_resuming_gives_the_same_batches_and_reads_no_others(shards, start, monkeypatch):
    whole = list(make(shards, workers=2).epoch(5))
    data = make(shards, workers=2)
    read, original = [], data._source.read
    monkeypatch.setattr(data._source, "read", lambda index: read.append(index) or original(index))
    rest = list(data.epoch(5, start))
    assert len(rest) == 10 - start and len(read) == 4 * len(rest)
    for resumed, uninterrupted in zip(rest, whole[start:]):
        assert_same(resumed, uninterrupted)


def with_bad_pictures(folder, bad, count=60):
    for index in range(count):
        data = bad[index % len(bad)] if index < len(bad) else encode(picture(index), quality=80)
        (folder / f"{index}.jpg").write_bytes(data)
    rows = [["filepath", "title"]] + [[f"{i}.jpg", caption(i)] for i in range(count)]
    return write_table(folder / "t.csv", rows)


def test_bad_records_are_counted_and_replaced_alike_everywhere(tmp_path, caplog):
    path = with_bad_pictures(tmp_path, [b"", b"not a picture", encode(picture())[:400], encode(picture(0, 1, 1))])
    runs = []
    for workers, world in ((1, 1), (4, 1), (2, 3)):
        together = [
            make(path, batch_size=12 // world, workers=workers, rank=rank, world_size=world) for rank in range(world)
        ]
        batches = [list(data.epoch(0)) for data in together]
        assert {len(part) for part in batches} == {5}
        joined = [
            {name: np.concatenate([part[step][name] for part in batches]) for name in batches[0][0]}
            for step in range(5)
        ]
        runs.append(joined)
        assert sum((data.skipped for data in together), start=type(together[0].skipped)()) == {
            "empty image file": 1,
            "undecodable image": 2,
            "image too small": 1,
        }
    indices = np.concatenate([batch["index"] for batch in runs[0]])
    assert len(indices) == 60 and not set(indices) & {0, 1, 2, 3} and set(range(4, 60)) <= set(indices)
    for run in runs[1:]:
        for first, second in zip(runs[0], run):
            assert_same(first, second)
    assert "1.jpg" in caplog.text and "undecodable image" in caplog.text


def test_a_record_is_counted_once_however_often_it_is_met(tmp_path):
    data = make(with_bad_pictures(tmp_path, [b"", b"x"]), workers=3)
    for epoch in range(3):
        assert len(list(data.epoch(epoch))) == 15
    assert data.skipped == {"empty image file": 1, "undecodable image": 1}


def test_too_many_bad_records_stop_with_a_summary(tmp_path):
    data = make(with_bad_pictures(tmp_path, [b""] * 20))  # one worker: a second could add to the count
    with pytest.raises(
        ValueError,
        match=r"7 of the first \d+ records .*max_bad_fraction \(0.1\).*7 empty image file, e.g. .*t.csv: row",
    ):
        list(data.epoch(0))


def test_nothing_but_bad_records(tmp_path):
    with pytest.raises(ValueError, match="32 in a row"):
        list(make(with_bad_pictures(tmp_path, [b""] * 60), max_bad_fraction=1.0).epoch(0))


def test_incomplete_samples_count_before_the_first_step(tmp_path):
    members = [(f"{i}.jpg", b"x") for i in range(10)] + [(f"{i}.txt", b"x") for i in range(5)]
    path = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(ValueError, match="5 of 10 records .*5 image without a text"):
        make(path)
    assert make(path, max_bad_fraction=0.5).num_samples == 5


def test_an_unforeseen_error_names_the_sample_and_ends_the_epoch(shards, monkeypatch):
    data = make(shards, workers=2)
    original = data._source.read

    def read(index):
        if index == 17:
            raise ZeroDivisionError("surprise")
        return original(index)

    monkeypatch.setattr(data._source, "read", read)
    with pytest.raises(RuntimeError, match=r"2.tar: 017: ZeroDivisionError: surprise"):
        list(data.epoch(0))


@pytest.mark.parametrize("leave", ["break", "close", "exception"])
def test_leaving_early_ends_the_threads(shards, leave):
    batches = make(shards, workers=4).epoch(0)
    next(batches)
    assert any(t.name.startswith("lightclip-data") for t in threading.enumerate())
    if leave == "close":
        batches.close()
    elif leave == "exception":
        with pytest.raises(KeyboardInterrupt):
            batches.throw(KeyboardInterrupt)
    del batches


def test_only_a_few_batches_are_made_ahead(shards, monkeypatch):
    data = make(shards, batch_size=4)
    read, original = [], data._source.read
    monkeypatch.setattr(data._source, "read", lambda index: read.append(index) or original(index))
    batches = data.epoch(0)
    next(batches)
    time.sleep(0.3)
    assert 4 <= len(read) <= 12
    batches.close()


def test_a_batch_larger_than_the_data_set(shards):
    with pytest.raises(ValueError, match="needs 48 samples, the data set has 40"):
        make(shards, batch_size=16, world_size=3)
