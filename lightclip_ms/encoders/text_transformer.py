"""CLIP's text transformer in four stages, pooled at the first end-of-text token."""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import Normal, initializer

from lightclip_ms.encoders.layers import (
    TransformerBlock,
    check_activation,
    check_heads,
    dense,
    layer_norm,
    masked_attention,
)

STAGES = 4
MASKED = -1e4  # added to a score; not -inf: float16 holds it, and inf - inf cannot arise


class TextTransformer(nn.Cell):
    """Token ids [N, L] -> embedding [N, E].

    Ids below `vocab_size` are the tokenizer's, with start and end of text as the last two; `<|mask|>` is one more
    row of the embedding, so its id is `vocab_size`, and "the largest id is the end of text" does not hold.
    Padding after the end of text needs no mask: attention is causal.

    Args:
        vocab_size, context_length, width, heads, embed_dim: V, L, D, H, E.
        layers: blocks, a multiple of 4; each stage has a quarter of them.
        activation: of the blocks, quick_gelu or gelu.
    """

    def __init__(
        self,
        vocab_size: int,
        context_length: int,
        width: int,
        heads: int,
        layers: int,
        embed_dim: int,
        activation: str = "quick_gelu",
    ):
        super().__init__()
        check_activation(activation, "text transformer")
        check_heads(width, heads, "text transformer")
        if layers < STAGES or layers % STAGES:
            raise ValueError(f"text transformer: layers must be a multiple of {STAGES} (equal stages), not {layers}")
        self.vocab_size = vocab_size
        self.context_length = context_length
        self.width = width
        self.heads = heads
        self.embed_dim = embed_dim
        self.sot_id, self.eot_id, self.mask_id = vocab_size - 2, vocab_size - 1, vocab_size
        self.token_embedding = Parameter(initializer(Normal(0.02), (vocab_size + 1, width), ms.float32))
        self.positional_embedding = Parameter(initializer(Normal(0.01), (context_length, width), ms.float32))
        std = width**-0.5  # CLIP's initialisation
        blocks = [
            TransformerBlock(width, heads, std, std * 2**-0.5, std * (2 * layers) ** -0.5, activation, masked_attention)
            for _ in range(layers)
        ]
        per_stage = layers // STAGES
        self.stages = nn.CellList([nn.CellList(blocks[i : i + per_stage]) for i in range(0, layers, per_stage)])
        self.norm = layer_norm(width)
        self.projection = dense(width, embed_dim, std, bias=False)
        causal = np.triu(np.full((context_length, context_length), MASKED, np.float32), 1)
        self._causal = Tensor(causal[None, None])
        self._positions = Tensor(np.arange(context_length, dtype=np.float32))

    def _embed(self, ids):
        """int32 [N, L] -> (token and position embeddings [N, L, D], causal bias [1, 1, L, L])."""
        if ids.shape[1] > self.context_length:
            raise ValueError(f"text transformer: ids must be [N, {self.context_length}] or shorter, not {ids.shape}")
        length = ids.shape[1]
        if length > self.context_length:
            raise ValueError(f"text transformer: ids must be [N, {self.context_length}] or shorter, not {ids.shape}")
        positions, causal = self.positional_embedding, self._causal
        if length < self.context_length:  # not in training: Ascend has no kernel for the gradient of a slice
            positions = ops.slice(positions, (0, 0), (length, self.width))
            causal = ops.slice(causal, (0, 0, 0, 0), (1, 1, length, length))
        return ops.gather(self.token_embedding, ids, 0) + positions, causal

    def _run_stages(self, x, bias, pick=None):
        """Outputs [N, L, D] of the four stages; with `pick` [N, 1, L] the last one is [N, 1, D], the row it picks."""
        outputs = ()
        for number, stage in enumerate(self.stages):
            for place, block in enumerate(stage):
                is_last = number == STAGES - 1 and place == len(stage) - 1
                x = block(x, bias, pick if is_last else None)
            outputs += (x,)
        return outputs

    def _pick_end(self, ids):
        """float32 [N, 1, L]: 1 at the first end-of-text token of each row, 0 elsewhere."""
        positions = ops.slice(self._positions, (0,), (ids.shape[1],))
        # The position of the first end of text; without one, the context length, which equals no position.
        is_end = ops.equal(ids, self.eot_id).astype(ms.float32)
        first = ops.amin(positions + (1 - is_end) * self.context_length, 1, keepdims=True)
        return ops.equal(positions, first).astype(ms.float32).expand_dims(1)

    def forward_features(self, ids):
        """int32 [N, L] -> (four stages [N, L, D], the last after the final LayerNorm; pooled [N, E]).

        L may be less than the context length: what follows the end of text changes nothing before it.
        """
        stages = self._run_stages(*self._embed(ids))
        pick = self._pick_end(ids)
        last = self.norm(stages[-1])
        # A product with one-hot rows instead of a gather: its gradient is a product too.
        pooled = ops.BatchMatMul()(pick.astype(last.dtype), last)
        return stages[:-1] + (last,), self.projection(pooled.reshape(-1, self.width))

    def forward_packed(self, ids, segments, positions):
        """Several captions per row: int32 [R, L] each -> four stages [R, L, D], the last after the final LayerNorm.

        Args:
            ids: tokens. segments: number of the caption within the row, 0 where there is none. positions: within the
                caption, below the context length.
        """
        x = ops.gather(self.token_embedding, ids, 0) + ops.gather(self.positional_embedding, positions, 0)
        # Causal within a segment: tokens of different captions are as far apart as a token and its future.
        same = ops.equal(segments.expand_dims(2), segments.expand_dims(1)).astype(ms.float32)  # [R, L, L]
        stages = self._run_stages(x, self._causal + MASKED * (1 - same).expand_dims(1))
        return stages[:-1] + (self.norm(stages[-1]),)

    def project(self, ends):
        """Tokens at the end of text after the final LayerNorm [K, D] -> pooled [K, E]."""
        return self.projection(ends)

    def construct(self, ids):
        """int32 [N, L] -> pooled [N, E]; the last block and LayerNorm run for the pooled token alone."""
        pooled = self._run_stages(*self._embed(ids), self._pick_end(ids))[-1]
        return self.projection(self.norm(pooled.reshape(-1, self.width)))
