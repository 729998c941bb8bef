"""Two towers and a temperature."""

import math

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from lightclip_ms.data.arguments import require_images, require_tokens
from lightclip_ms.data.tokenizer import check_ids

# Each combination has a compiled graph of its own, so there are few: lengths besides the context length, and batch
# sizes.
TEXT_LENGTHS = (16, 32, 48)
BATCH_SIZES = (1, 4, 16, 64)


def l2_normalize(x):
    """x / |x| on the last axis, in float32; zero stays zero."""
    x = x.astype(ms.float32)
    return x * ops.rsqrt((x * x).sum(axis=-1, keepdims=True) + 1e-12)


def plan_batches(count: int) -> list[int]:
    """Sizes of the compiled batches that hold `count` rows; only the last is filled up, to less than twice its rows."""
    sizes = []
    for size in reversed(BATCH_SIZES):
        while count > 0 and 2 * count >= size:
            sizes.append(size)
            count -= size
    return sizes


class LightCLIP(nn.Cell):
    """An image encoder and a text encoder that meet in one embedding space.

    `encode_image` and `encode_text` are for inference: compiled when they first meet a batch size and a length, in
    evaluation mode, without a gradient. Call `visual` and `text` for anything else.

    Args:
        visual: image encoder, see `encoders`.
        text: `TextTransformer` with the same `embed_dim`.
    """

    def __init__(self, visual: nn.Cell, text: nn.Cell):
        super().__init__()
        if visual.embed_dim != text.embed_dim:
            raise ValueError(f"the towers' embed_dim differ: image {visual.embed_dim}, text {text.embed_dim}")
        self.visual = visual
        self.text = text
        # log(1 / tau), tau = 0.07 (Eq. 2-3). One element, not a scalar: every optimizer and collective takes it.
        self.logit_scale = Parameter(Tensor([math.log(1 / 0.07)], ms.float32), name="logit_scale")

    def encode_image(self, images, normalize: bool = False) -> Tensor:
        """Embed pictures.

        Args:
            images: float32 [N, 3, S, S], scaled by the evaluation transform; Tensor or array, S = `visual.image_size`.
            normalize: scale each row to length 1.

        Returns:
            float32 [N, E]; the same for a picture, to rounding, in whatever batch it comes.

        Raises:
            ValueError: another type, shape or kind of number.
        """
        require_images(images, self.visual.image_size)
        return self._run(self.visual, _as_array(images, np.float32), normalize)

    def encode_text(self, tokens, normalize: bool = False) -> Tensor:
        """Embed captions.

        Args:
            tokens: int32 [N, L], Tensor or array as the tokenizer returns it, L = `text.context_length`. They are cut
                behind the longest text, to one of few lengths: the same embeddings for a fraction of the work.
            normalize: scale each row to length 1.

        Returns:
            float32 [N, E]; the same for a text, to rounding, in whatever batch it comes.

        Raises:
            ValueError: another type, shape or kind of number, no row, an id outside the vocabulary, or a row without
            end of text.
        """
        require_tokens(tokens, self.text.context_length)
        tokens = _as_array(tokens, np.int32)
        longest = check_ids(tokens, self.text.context_length, self.text.vocab_size)
        length = min(length for length in (*TEXT_LENGTHS, self.text.context_length) if length >= longest)
        return self._run(self.text, tokens[:, :length], normalize)

    def _run(self, tower: nn.Cell, rows: np.ndarray, normalize: bool) -> Tensor:
        """A tower on all rows in compiled batches, in evaluation mode."""
        was_training = self.training
        if was_training:
            self.set_train(False)
        try:
            parts, start = [np.zeros((0, self.visual.embed_dim), np.float32)], 0
            for size in plan_batches(len(rows)):
                batch = rows[start : start + size]
                filled = np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])
                # Not a method with `ms.jit`: its graph keeps the weights of its first call after `set_data`.
                parts.append(tower.compile_and_run(Tensor(filled)).asnumpy()[: len(batch)])
                start += size
        finally:
            if was_training:
                self.set_train(True)
        features = np.concatenate(parts).astype(np.float32)
        if normalize:
            features = features / np.sqrt((features * features).sum(axis=-1, keepdims=True) + np.float32(1e-12))
        return Tensor(features)

    def construct(self, images, tokens):
        """([N, 3, S, S], [N, L]) -> (image features [N, E], text features [N, E], both of length 1; scale [1])."""
        return l2_normalize(self.visual(images)), l2_normalize(self.text(tokens)), self.logit_scale.exp()


def _as_array(rows, dtype) -> np.ndarray:
    rows = rows.asnumpy() if isinstance(rows, Tensor) else np.asarray(rows)
    return rows.astype(dtype, copy=False)
