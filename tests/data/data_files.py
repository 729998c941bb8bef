"""Small data sets for the tests of the input pipeline."""

import csv
import io
import tarfile

import numpy as np
from PIL import Image

from benchmarks.photos import make_photo
from lightclip_ms.data.batch import LIGHTCLIP_PARTS, BatchLayout
from lightclip_ms.data.masking import num_slots


def make_layout(image_size, batch_size, tokenizer, parts=LIGHTCLIP_PARTS):
    """Layout of batches with this tokenizer's context."""
    length = tokenizer.context_length
    return BatchLayout(batch_size, image_size, length, num_slots(length), parts)


def write_tar(path, members, format=tarfile.PAX_FORMAT):
    """Members are (name, bytes) or ready TarInfo objects."""
    with tarfile.open(path, "w", format=format) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return str(path)


def write_table(path, rows, delimiter=","):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return str(path)


def picture(seed=0, height=60, width=80):
    """A smooth colourful picture, uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.BICUBIC))


def encode(pixels, format="JPEG", mode="RGB", **options):
    """Pixels as the bytes of a picture file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def photo(seed):
    """A 500x375 JPEG with a photograph's muted colours and texture."""
    rng = np.random.default_rng(seed)
    return make_photo(rng, Image.fromarray(rng.integers(90, 166, (9, 12, 3), dtype=np.uint8)))
