"""Two towers and a temperature."""

import math

import mindspore.nn as nn
import mindspore.ops as ops
import numpy as np
from mindspore import Parameter, Tensor
from mindspore import dtype as mstype

TEXT_LENGTHS = (16, 32, 48)  # besides the context length: each has its own compiled graph


def l2_normalize(x):
    """x / |x| on the last axis, in float32; zero stays zero."""
    x = x.astype(mstype.float32)
    return x * ops.rsqrt((x * x).sum(axis=-1, keepdims=True) + 1e-12)


class L2Normalize(nn.Cell):
    """`l2_normalize` as a Cell, so that it is compiled when called from outside a graph."""

    def construct(self, x):
        return l2_normalize(x)


class LightCLIP(nn.Cell):
    """An image encoder and a text encoder that meet in one embedding space.

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
        self.logit_scale = Parameter(Tensor([math.log(1 / 0.07)], mstype.float32), name="logit_scale")
        self._normalize = L2Normalize()

    def encode_image(self, images, normalize: bool = False) -> Tensor:
        """Embed pictures.

        Args:
            images: float32 [N, 3, S, S], scaled by the evaluation transform; Tensor or array, S = `visual.image_size`.
            normalize: scale each row to length 1.

        Returns:
            float32 [N, E].

        Raises:
            ValueError: another shape.
        """
        size = self.visual.image_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise ValueError(f"images must be [N, 3, {size}, {size}], not {list(images.shape)}")
        features = self.visual(images if isinstance(images, Tensor) else Tensor(images, mstype.float32))
        return self._normalize(features) if normalize else features

    def encode_text(self, tokens, normalize: bool = False) -> Tensor:
        """Embed captions.

        Args:
            tokens: int32 [N, L], Tensor or array as the tokenizer returns it, L = `text.context_length`. An array is
                cut behind its longest text, to one of few lengths: the same embeddings for a fraction of the work.
            normalize: scale each row to length 1.

        Returns:
            float32 [N, E].

        Raises:
            ValueError: another shape; in an array also an id outside the vocabulary or a row without end of text.
        """
        text = self.text
        if tokens.ndim != 2 or tokens.shape[1] != text.context_length:
            raise ValueError(f"tokens must be [N, {text.context_length}], not {list(tokens.shape)}")
        if isinstance(tokens, np.ndarray):
            if tokens.size and not 0 <= tokens.min() <= tokens.max() <= text.mask_id:
                raise ValueError(f"token ids must be 0 to {text.mask_id}; was another model's tokenizer used?")
            ended = (tokens == text.eot_id).any(axis=1)
            if not ended.all():
                raise ValueError(
                    f"row {int(ended.argmin())} has no end-of-text id {text.eot_id}; was another model's tokenizer used?"
                )
            longest = int((tokens == text.eot_id).argmax(axis=1).max(initial=0)) + 1
            length = min(length for length in (*TEXT_LENGTHS, text.context_length) if length >= longest)
            tokens = Tensor(np.ascontiguousarray(tokens[:, :length]), mstype.int32)
        features = text(tokens)
        return self._normalize(features) if normalize else features

    def construct(self, images, tokens):
        """([N, 3, S, S], [N, L]) -> (image features [N, E], text features [N, E], both of length 1; scale [1])."""
        return l2_normalize(self.visual(images)), l2_normalize(self.text(tokens)), self.logit_scale.exp()
