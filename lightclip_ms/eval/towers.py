"""The two towers of a trained model as functions of numpy arrays, for everything that only infers."""

import numpy as np

from lightclip_ms.data import Tokenizer
from lightclip_ms.data.eval_transform import EvalTransform
from lightclip_ms.model.factory import load_model_and_config
from lightclip_ms.runtime.files import sha256


class ModelTowers:
    """Towers of a model in memory; the caller puts it into evaluation mode.

    Attributes:
        embed_dim, image_size: E and S; name, encoder: of the model and of its image encoder.
        preprocess(bytes) -> float32 [3, S, S], tokenize(texts) -> int32 [n, L].
        model, config: the arguments; checksum: None, the weights may change.

    Args:
        model: `LightCLIP`.
        config: its `ModelConfig`.
    """

    checksum = None

    def __init__(self, model, config):
        self.model, self.config = model, config
        self.name, self.encoder = config.name, config.image_encoder
        self.embed_dim, self.image_size = config.embed_dim, config.image_size
        self.preprocess = EvalTransform(config.image_size)
        self.tokenize = Tokenizer(config.context_length, config.vocab_size)

    def encode_images(self, images: np.ndarray) -> np.ndarray:
        """float32 [B, 3, S, S] -> float32 [B, E], rows of length 1."""
        return self.model.encode_image(images, normalize=True).asnumpy()

    def encode_texts(self, ids: np.ndarray) -> np.ndarray:
        """int32 [B, L] -> float32 [B, E], rows of length 1."""
        return self.model.encode_text(ids, normalize=True).asnumpy()


class CheckpointTowers(ModelTowers):
    """Towers of a checkpoint.

    Attributes:
        checksum: the file's SHA-256; scale: the model's similarity multiplier.

    Raises:
        FileNotFoundError: no such file. ValueError: no checkpoint, a damaged one, or of an unknown architecture.
    """

    def __init__(self, path: str):
        super().__init__(*load_model_and_config(path))
        self.checksum = sha256(path)
        self.scale = float(np.exp(self.model.logit_scale.asnumpy().item()))
