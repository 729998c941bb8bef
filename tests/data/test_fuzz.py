"""An epoch over 2,000 mutated records: each ends in a batch or as a counted record; `tests/fuzz` has the rest."""

import numpy as np
import pytest

from lightclip_ms.config.schema import DataConfig
from lightclip_ms.data import Tokenizer
from lightclip_ms.data.pipeline import TrainData
from tests.data.data_files import make_layout, write_table, write_tar
from tests.fuzz.make_pictures import originals
from tests.fuzz.mutate import mutate

RECORDS = 2000


CAPTIONS = [
    b"a dog",
    b"",
    b"\0\0",
    b"\xff\xfe\xfa",
    "ünï 🐶\u202e\u0000".encode(),
    b"a" * 100_000,
    b"&lt;" * 5000,
    b"\n\r\t",
    b"<|endoftext|>" * 40,
    b'"',
    b"'" * 300,
]


def mutated_pairs():
    known = originals()[:19]  # of which a quarter are no pictures
    for i in range(RECORDS):
        rng = np.random.default_rng([7, i])
        caption = CAPTIONS[i % len(CAPTIONS)]
        yield mutate(known[i % len(known)], rng), mutate(caption, rng) if i % 3 == 0 else caption


@pytest.mark.parametrize("kind", ["tar", "csv"])
def test_an_epoch_over_mutated_records(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("lightclip_ms.data.text_augment.find_wordnet", lambda folder: None)
    if kind == "tar":
        path = write_tar(
            tmp_path / "fuzz.tar",
            [
                (f"{i:04d}.{ending}", data)
                for i, pair in enumerate(mutated_pairs())
                for ending, data in zip(("jpg", "txt"), pair)
            ],
        )
    else:
        rows = [["filepath", "title"]]
        for i, (image, caption) in enumerate(mutated_pairs()):
            (tmp_path / f"{i}.jpg").write_bytes(image)
            rows.append([f"{i}.jpg", caption.decode("latin-1")])
        path = write_table(tmp_path / "fuzz.csv", rows)
    config = DataConfig(train=path, workers=2, max_bad_fraction=1.0)
    tokenizer = Tokenizer(context_length=16, vocab_size=1024)
    data = TrainData(config, tokenizer, make_layout(16, 100, tokenizer))
    batches = list(data.epoch(0))
    assert data.num_samples >= RECORDS * 0.95 and len(batches) == data.num_samples // 100
    for batch in batches:
        assert batch["image"].shape == (100, 16, 16, 3) and (batch["text"][:, 0] == tokenizer.sot_id).all()
        assert ((batch["text"] == tokenizer.eot_id).sum(1) >= 1).all()
    assert sum(data.skipped.values()) > 500 and len(data.skipped) >= 3
    with pytest.raises(ValueError, match="max_bad_fraction"):
        list(TrainData(DataConfig(train=path, workers=2), tokenizer, make_layout(16, 100, tokenizer)).epoch(0))
