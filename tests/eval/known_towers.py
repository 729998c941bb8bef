"""Towers with known answers: an image's embedding is its mean colour, a text's that of the colour words in it."""

import io

import numpy as np
from PIL import Image

from lightclip_ms.data.skipped import BadRecord

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}


def picture(colour, size=(24, 24), format="PNG"):
    """Encoded picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, tuple(255 * v for v in COLOURS[colour])).save(buffer, format)
    return buffer.getvalue()


class ColourTowers:
    """Counts the batches it was given and insists on one shape, as a compiled graph does."""

    name, checksum, embed_dim, image_size, scale = "colours", "0" * 64, 3, 4, 100.0

    def __init__(self, batch_size):
        self.batch_size, self.image_batches, self.text_batches = batch_size, 0, 0

    def preprocess(self, data):
        try:
            image = data if isinstance(data, Image.Image) else Image.open(io.BytesIO(data))
        except OSError:
            raise BadRecord("undecodable image") from None
        image = image.convert("RGB").resize((4, 4))
        return np.asarray(image, np.float32).transpose(2, 0, 1) / 255

    def tokenize(self, texts):
        return np.array([[word in text.split() for word in COLOURS] for text in texts], np.int32)

    def encode_images(self, images):
        assert images.shape == (self.batch_size, 3, 4, 4)
        self.image_batches += 1
        return self._unit(images.mean(axis=(2, 3)))

    def encode_texts(self, ids):
        assert ids.shape == (self.batch_size, 3)
        self.text_batches += 1
        return self._unit(ids @ np.array(list(COLOURS.values()), np.float32))

    @staticmethod
    def _unit(rows):
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
