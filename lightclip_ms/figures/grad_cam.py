"""Where in a picture a text is seen: Grad-CAM (Selvaraju et al., 2017) on an image encoder's last stage.

Legend: N pairs, P patches of the last stage (a square grid), C channels, E embedding size.
"""

import numpy as np
from mindspore import Tensor, nn, ops

from lightclip_ms.model.lightclip import l2_normalize


class PooledSimilarity(nn.Cell):
    """Sum over pairs of the cosine between pooled tokens and a text feature, of the last stage's tokens [N, P, C]."""

    def __init__(self, visual: nn.Cell):
        super().__init__()
        self.visual = visual

    def construct(self, tokens, text_features):
        return (l2_normalize(self.visual.pool_tokens(tokens)) * text_features).sum()


class LastStage(nn.Cell):
    """An image encoder's tokens of the last stage, [N, 3, S, S] -> [N, P, C], as one graph."""

    def __init__(self, visual: nn.Cell):
        super().__init__()
        self.visual = visual

    def construct(self, images):
        return self.visual.forward_features(images)[1]


def grad_cam(model: nn.Cell, images: np.ndarray, text_features: np.ndarray) -> np.ndarray:
    """Heatmaps of how each text's similarity to its image depends on the patches.

    Args:
        model: `LightCLIP`; images: float32 [N, 3, S, S]; text_features: float32 [N, E], rows of length 1.

    Returns:
        float32 [N, sqrt(P), sqrt(P)], >= 0, the largest value of a map 1 (a map without positive evidence is all 0).
    """
    tokens = LastStage(model.visual)(Tensor(images))
    gradient = ops.grad(PooledSimilarity(model.visual))(tokens, Tensor(text_features.astype(np.float32)))
    return combine(tokens.asnumpy(), gradient.asnumpy())


def combine(tokens: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """ReLU of the channels' sum weighted by their mean gradients, both [N, P, C]: [N, sqrt(P), sqrt(P)], largest 1."""
    weights = gradient.mean(axis=1, keepdims=True)  # [N, 1, C]
    heat = np.maximum((weights * tokens).sum(axis=2), 0)  # [N, P]
    side = round(heat.shape[1] ** 0.5)
    largest = heat.max(axis=1, keepdims=True)
    return (heat / np.where(largest > 0, largest, 1)).reshape(len(heat), side, side).astype(np.float32)
