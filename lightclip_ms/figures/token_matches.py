"""Which patch the bipartite matching of token alignment (Eq. 10-12) gives each word of a caption."""

from dataclasses import dataclass

import numpy as np
from mindspore import Tensor, nn

from lightclip_ms.figures.grad_cam import LastStage
from lightclip_ms.losses.matching import match_tokens


class WordTokens(nn.Cell):
    """A text encoder's tokens after its final LayerNorm, int32 [N, L] -> [N, L, D], as one graph."""

    def __init__(self, text: nn.Cell):
        super().__init__()
        self.text = text

    def construct(self, ids):
        return self.text.forward_features(ids)[0][3]


@dataclass(frozen=True)
class WordMatch:
    """A token of the caption, the patch (row, column) it is matched to, and their cosine."""

    word: str
    patch: tuple[int, int]
    cosine: float


def match_caption(towers, image, caption: str, projection: np.ndarray) -> tuple[list[WordMatch], int]:
    """The matches of one picture (bytes or Pillow image) and its caption, and the side of the grid of patches.

    Args:
        towers: `CheckpointTowers`.
    """
    tokenizer, model = towers.tokenize, towers.model
    ids = tokenizer(caption)  # [1, L]
    end = int((ids[0] == tokenizer.eot_id).argmax())
    image_tokens = LastStage(model.visual)(Tensor(towers.preprocess(image)[None])).asnumpy()[0]
    text_tokens = WordTokens(model.text)(Tensor(ids)).asnumpy()[0, 1:end]
    words = [tokenizer.decode(ids[0, position : position + 1]) for position in range(1, end)]
    return match_words(image_tokens, text_tokens, words, projection), round(len(image_tokens) ** 0.5)


def match_words(
    image_tokens: np.ndarray, text_tokens: np.ndarray, words: list[str], projection: np.ndarray
) -> list[WordMatch]:
    """The matches of one image and its caption, in the caption's order; with more words than patches some have none.

    Args:
        image_tokens: [P, C] of the last stage, P a square; text_tokens: [W, D], those of the W words only.
        words: W texts; projection: [D, C].
    """
    image = _unit(image_tokens.astype(np.float64) @ projection.T)  # [P, D]
    cosine = image @ _unit(text_tokens.astype(np.float64)).T  # [P, W]
    matches = match_tokens(1 - cosine[None], np.ones((1, len(words)), bool))[0]
    side = round(len(image_tokens) ** 0.5)
    found = [(word, np.flatnonzero(matches[:, column])) for column, word in enumerate(words)]
    return [
        WordMatch(word, divmod(int(patch[0]), side), float(cosine[patch[0], column]))
        for column, (word, patch) in enumerate(found)
        if len(patch)
    ]


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
