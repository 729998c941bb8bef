"""Which patch the bipartite matching of token alignment (Eq. 10-12) gives each word of a caption.

Legend: P patches of the last stage (a square grid), C channels, W words, D text width, E embedding size.
"""

from dataclasses import dataclass

import numpy as np
from mindspore import Tensor, nn

from lightclip_ms.figures.grad_cam import LastStage
from lightclip_ms.losses.matching import match_tokens

TRAINED, EMBEDDING = "trained token projection", "embedding space"


class WordTokens(nn.Cell):
    """A text encoder's tokens after its final LayerNorm, int32 [N, L] -> [N, L, D], as one graph."""

    def __init__(self, text: nn.Cell):
        super().__init__()
        self.text = text

    def construct(self, ids):
        return self.text.forward_features(ids)[0][3]


class PatchEmbeddings(nn.Cell):
    """The embedding that each patch of a picture would have if it were the whole last stage: [1, 3, S, S] -> [P, E].

    Of attention pooling that leaves its value and output maps, as only one token is there to be attended to.
    """

    def __init__(self, visual: nn.Cell):
        super().__init__()
        self.visual = visual

    def construct(self, images):
        tokens = self.visual.forward_features(images)[1]
        return self.visual.pool_tokens(tokens.reshape(-1, 1, tokens.shape[2]))


class WordEmbeddings(nn.Cell):
    """The embedding that each token would have at the end of a text: int32 [1, L] -> [L, E]."""

    def __init__(self, text: nn.Cell):
        super().__init__()
        self.text = text

    def construct(self, ids):
        return self.text.project(self.text.forward_features(ids)[0][3][0])


@dataclass(frozen=True)
class WordMatch:
    """A token of the caption, the patch (row, column) it is matched to, and their cosine."""

    word: str
    patch: tuple[int, int]
    cosine: float


def match_caption(towers, image, caption: str, projection: np.ndarray | None) -> tuple[list[WordMatch], int]:
    """The matches of one picture (bytes or Pillow image) and its caption, and the side of the grid of patches.

    Args:
        towers: `CheckpointTowers`.
        projection: the trained map [D, C] of patches to the words' space. None compares both in the embedding space,
            as a model that never aligned tokens has no other space that both are in.
    """
    tokenizer, model = towers.tokenize, towers.model
    ids = tokenizer(caption)  # [1, L]
    end = int((ids[0] == tokenizer.eot_id).argmax())
    pixels, ids_tensor = Tensor(towers.preprocess(image)[None]), Tensor(ids)
    if projection is None:
        patches = PatchEmbeddings(model.visual)(pixels).asnumpy()
        tokens = WordEmbeddings(model.text)(ids_tensor).asnumpy()
    else:
        patches = LastStage(model.visual)(pixels).asnumpy()[0] @ projection.T
        tokens = WordTokens(model.text)(ids_tensor).asnumpy()[0]
    words = [tokenizer.decode(ids[0, position : position + 1]) for position in range(1, end)]
    return match_words(patches, tokens[1:end], words), round(len(patches) ** 0.5)


def match_words(patches: np.ndarray, tokens: np.ndarray, words: list[str]) -> list[WordMatch]:
    """The matches of one image and its caption, in the caption's order; with more words than patches some have none.

    Args:
        patches: [P, D], P a square; tokens: [W, D], those of the W words only, in the same space; words: W texts.
    """
    cosine = _unit(patches.astype(np.float64)) @ _unit(tokens.astype(np.float64)).T  # [P, W]
    matches = match_tokens(1 - cosine[None], np.ones((1, len(words)), bool))[0]
    side = round(len(patches) ** 0.5)
    found = [(word, np.flatnonzero(matches[:, column])) for column, word in enumerate(words)]
    return [
        WordMatch(word, divmod(int(patch[0]), side), float(cosine[patch[0], column]))
        for column, (word, patch) in enumerate(found)
        if len(patch)
    ]


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
