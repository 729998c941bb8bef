"""The two towers of a trained model as functions of numpy arrays, for everything that only infers."""
import hashlib

import numpy as np

from lightclip_ms.data import Tokenizer
from lightclip_ms.data.transforms import EvalTransform


class CheckpointTowers:
    """Towers of a checkpoint.

    Attributes:
        embed_dim, image_size: E and S; name, encoder: of the model and of its image encoder; checksum: the file's SHA-256.
        preprocess(bytes) -> float32 [3, S, S], tokenize(texts) -> int32 [n, L].
        model: the `LightCLIP`; scale: its similarity multiplier.

    Raises:
        FileNotFoundError: no such file. ValueError: no checkpoint, a damaged one, or of an unknown architecture.
    """

    def __init__(self, path: str):
        from lightclip_ms.train.checkpoint import load_model

        self.model, config = load_model(path)
        self.model.set_train(False)
        self.name, self.encoder = config.name, config.image_encoder
        self.embed_dim, self.image_size = config.embed_dim, config.image_size
        self.checksum = file_checksum(path)
        self.preprocess = EvalTransform(config.image_size)
        self.tokenize = Tokenizer(config.context_length, config.vocab_size)
        self.scale = float(np.exp(self.model.logit_scale.asnumpy().item()))

    def encode_images(self, images: np.ndarray) -> np.ndarray:
        """float32 [B, 3, S, S] -> float32 [B, E], rows of length 1."""
        return self.model.encode_image(images, normalize=True).asnumpy()

    def encode_texts(self, ids: np.ndarray) -> np.ndarray:
        """int32 [B, L] -> float32 [B, E], rows of length 1."""
        return self.model.encode_text(ids, normalize=True).asnumpy()


def file_checksum(path: str) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
