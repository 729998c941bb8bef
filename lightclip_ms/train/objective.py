"""Eq. 1: both encoders, the training-only parts and the three losses as one Cell.

N pairs on this card, S image size, L text positions, M masked slots.
"""

import mindspore as ms
from mindspore import Tensor, nn, ops

from lightclip_ms import losses
from lightclip_ms.config.schema import LossConfig
from lightclip_ms.data.transforms import IMAGE_MEAN, IMAGE_STD
from lightclip_ms.model.fusion import MaskedLanguageHeads, TokenProjection
from lightclip_ms.runtime import parallel

TERMS = ("loss", "instance", "token", "mlm", "token_collapse", "mlm_left_out")


class Objective(nn.Cell):
    """LightCLIP's training loss of one batch.

    The training-only parts live here and not in the model, so that no inference checkpoint or graph holds them; a
    branch whose weight is 0 is not built.

    Args:
        model: `LightCLIP`.
        config: weights and parameters of the losses.
        rank, world_size: this card and the number of cards.
    """

    def __init__(self, model: nn.Cell, config: LossConfig, rank: int = 0, world_size: int = 1):
        super().__init__()
        self.model = model
        self.config = config
        self.rank = rank
        self.world_size = world_size
        self.gather = parallel.make_gather(rank, world_size)
        self.sum_over_cards = parallel.Sum(world_size)
        visual, text = model.visual, model.text
        self.patches = (visual.image_size // visual.stage_strides[3]) ** 2
        self.token_projection = TokenProjection(visual.stage_channels[3], text.width) if config.token_weight else None
        self.mlm_heads = (
            MaskedLanguageHeads(visual.stage_channels, text.width, text.heads, text.vocab_size)
            if config.mlm_weight
            else None
        )
        self.pixel_mean = Tensor([255 * value for value in IMAGE_MEAN], ms.float32)
        self.pixel_scale = Tensor([1 / (255 * value) for value in IMAGE_STD], ms.float32)

    def construct(self, pixels, text, masked_text, mlm_positions, mlm_labels, mlm_weights, phase):
        """One batch of `data.pipeline` and the label phase (int32 scalar).

        Args:
            pixels: uint8 [N, S, S, 3]; scaled here, so that a quarter of the bytes crosses to the device.
            text, masked_text: int32 [N, L].
            mlm_positions, mlm_labels: int32 [N, M]; mlm_weights: float32 [N, M].

        Returns:
            (loss, float32 [6] of `TERMS`), whose means over cards are those of one card with the whole batch.
        """
        image, text_features, sums = self.encode(
            pixels, text, masked_text, mlm_positions, mlm_labels, mlm_weights, self.totals(text, mlm_weights)
        )
        instance = self.instance(image, text_features, phase)
        return self.combine(instance, sums)

    def totals(self, text, mlm_weights):
        """What the token and MLM losses of all cards divide by, float32 [2], from this card's batch."""
        return self.sum_over_cards(self._counts(text, mlm_weights))

    def encode(self, pixels, text, masked_text, mlm_positions, mlm_labels, mlm_weights, totals):
        """Features of a batch or of a part of one, and the losses that are sums over pairs.

        Returns:
            image and text features [N, E], and float32 [4]: token loss, MLM loss, token collapse, share of masked
            words left out. Summed over the parts of a card's batch, the mean over cards of both losses is that of one
            card with the whole batch.
        """
        image_stages, image_tokens, image = self.model.visual.forward_features(self.normalize(pixels))
        text_stages, masked_stages, text_features = self._encode_texts(text, masked_text)
        counts = self._counts(text, mlm_weights)
        token = mlm = collapse = left_out = ops.zeros((), ms.float32)
        if self.token_projection is not None:
            projected = self.token_projection(image_tokens)
            valid = self._words(text)
            token = losses.token_alignment_loss(projected, text_stages[3], valid, self.config.normalizer)
            token = token * losses.card_weight(counts[0], totals[0], self.world_size)
            collapse = losses.token_collapse(projected)
        if self.mlm_heads is not None:
            rows = losses.vocabulary_rows(mlm_weights, self.config.mlm_rows_per_text)
            text_logits, fused_logits = self.mlm_heads(masked_stages, image_stages, mlm_positions, rows)
            labels, weights = ops.gather(mlm_labels.reshape(-1), rows, 0), ops.gather(mlm_weights.reshape(-1), rows, 0)
            mlm = (losses.mlm_loss(text_logits, labels, weights) + losses.mlm_loss(fused_logits, labels, weights)) / 2
            mlm = mlm * losses.card_weight(counts[1], totals[1], self.world_size)
            left_out = (counts[1] - weights.sum()) / ops.maximum(counts[1], 1)
        return image, text_features, ops.stack((token, mlm, collapse, left_out))

    def instance(self, image, text, phase):
        """Eq. 2-9 over the features of all cards, both towers' in one gather."""
        both = self.gather(ops.concat((image.astype(ms.float32), text.astype(ms.float32)), 1))
        width = image.shape[1]
        return losses.instance_loss(
            image,
            text,
            self.model.logit_scale.exp(),
            phase,
            self.config.delta,
            both[:, :width],
            both[:, width:],
            self.rank * image.shape[0],
            self.config.source,
        )

    def combine(self, instance, sums):
        """Eq. 1 of the instance loss and what `encode` gave for the whole batch: (loss, float32 [6] of `TERMS`)."""
        config = self.config
        loss = config.instance_weight * instance + config.token_weight * sums[0] + config.mlm_weight * sums[1]
        return loss, ops.concat((ops.stack((loss, instance)), sums))

    def normalize(self, pixels):
        """uint8 [N, S, S, 3] -> float32 [N, 3, S, S] as the encoders take it."""
        return ((pixels.astype(ms.float32) - self.pixel_mean) * self.pixel_scale).transpose(0, 3, 1, 2)

    def _words(self, text):
        return losses.word_mask(text, self.model.text.sot_id, self.model.text.eot_id)

    def _counts(self, text, mlm_weights):
        return ops.stack(
            (losses.token_alignment_count(self._words(text), self.patches, self.config.normalizer), mlm_weights.sum())
        )

    def _encode_texts(self, text, masked_text):
        """Stages of the clean and of the masked texts, and the clean texts' features, in one pass of 2N texts."""
        if self.mlm_heads is None:
            stages, features = self.model.text.forward_features(text)
            return stages, (), features
        stages, features = self.model.text.forward_features(ops.concat((text, masked_text)))
        count = text.shape[0]
        clean, masked = (), ()
        for stage in stages:
            clean += (stage[:count],)
            masked += (stage[count:],)
        return clean, masked, features[:count]
