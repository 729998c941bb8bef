"""2,000 mutated records and archives: everything ends as a batch, a counted record or one clear error."""

import numpy as np
import pytest

from lightclip_ms.config.schema import AugmentConfig, DataConfig
from lightclip_ms.data import Tokenizer
from lightclip_ms.data.eval_transform import eval_transform
from lightclip_ms.data.pairs import open_pairs
from lightclip_ms.data.pipeline import TrainData
from lightclip_ms.data.skipped import BadRecord
from lightclip_ms.data.tar_index import TarIndex
from lightclip_ms.data.transforms import TrainTransform
from tests.data.data_files import encode, make_layout, picture, write_table, write_tar

RECORDS = 2000


def seeds():
    """Small pictures of every kind, and things that are none."""
    small = picture(0, 24, 30)
    kinds = [
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "RGB", {"progressive": True}),
        ("JPEG", "RGB", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}),
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "P", {}),
        ("PNG", "I;16", {}),
        ("WEBP", "RGB", {}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
    ]
    return [encode(small, format, mode, **options) for format, mode, options in kinds] + [
        b"",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBP",
    ]


def mutate(data: bytes, rng) -> bytes:
    """Flip, overwrite, cut, insert, repeat or splice a few places."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        at, length = int(rng.integers(0, len(data) + 1)), int(rng.integers(1, 30))
        kind = rng.integers(0, 6)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            data[at : at + length] = rng.bytes(min(length, len(data) - at))
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data[at:at] = rng.bytes(length)
        elif kind == 4:
            data[at:at] = data[at : at + length]
        else:
            data[at : at + 4] = bytes(
                [[0, 0, 0, 0], [255, 255, 255, 255], [127, 255, 255, 255], [0, 0, 0, 1]][rng.integers(0, 4)]
            )
    return bytes(data)


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
    originals = seeds()
    for i in range(RECORDS):
        rng = np.random.default_rng([7, i])
        caption = CAPTIONS[i % len(CAPTIONS)]
        yield mutate(originals[i % len(originals)], rng), mutate(caption, rng) if i % 3 == 0 else caption


def test_mutated_pictures_either_decode_or_are_bad_records():
    train, evaluate = TrainTransform(16, AugmentConfig()), eval_transform(16)
    outcome = {"used": 0, "bad": 0}
    for i, (image, _) in enumerate(mutated_pairs()):
        try:
            assert train.pixels(image, np.random.default_rng(i)).shape == (16, 16, 3)
            assert np.isfinite(evaluate(image)).all()
            outcome["used"] += 1
        except BadRecord as error:
            assert "\n" not in str(error) and len(str(error)) < 300
            outcome["bad"] += 1
    assert outcome["used"] > 200 and outcome["bad"] > 500, outcome


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


def test_mutated_archives(tmp_path):
    originals = [
        open(
            write_tar(
                tmp_path / f"{format}.tar",
                [(f"{'long/' * 30}{i}.{ending}", b"x" * 40) for i in range(3) for ending in ("jpg", "txt")],
                format,
            ),
            "rb",
        ).read()
        for format in range(1, 3)
    ]
    outcomes = set()
    path = tmp_path / "mutated.tar"
    for i in range(300):
        path.write_bytes(mutate(originals[i % 2][:8192], np.random.default_rng([8, i])))
        try:
            index = TarIndex(str(path))
            for sample in range(len(index)):
                for extension in index.members(sample):
                    index.read(sample, extension)
            outcomes.add("read")
        except ValueError as error:
            assert str(path) in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_mutated_tables(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"p")
    original = b'filepath,title\na.jpg,one\na.jpg,"two, quoted"\na.jpg,"three\nlines"\n' * 2
    for i in range(300):
        (tmp_path / "t.csv").write_bytes(mutate(original, np.random.default_rng([9, i])))
        try:
            source = open_pairs(str(tmp_path / "t.csv"))
        except ValueError as error:
            assert "t.csv" in str(error)
            continue
        for row in range(len(source)):
            assert source.key(row).startswith(str(tmp_path))
            try:
                assert source.read(row).caption
            except BadRecord:
                pass
