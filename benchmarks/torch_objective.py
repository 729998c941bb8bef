"""Eq. 1 in PyTorch: fusion, the three losses and their sum."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

from lightclip_ms.config.file import to_dict
from lightclip_ms.export.lightclip_torch import LightCLIP, attend

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)
DELTA = 0.2


class CrossAttention(nn.Module):
    def __init__(self, channels, width, heads):
        super().__init__()
        self.heads = heads
        self.conv = nn.Linear(channels, width, bias=False)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, text, image):
        image = self.conv(image)
        return self.out(attend(self.query(text), self.key(image), self.value(image), self.heads))


class MaskedLanguageHeads(nn.Module):
    def __init__(self, stage_channels, width, heads, vocab_size):
        super().__init__()
        self.attention2 = CrossAttention(stage_channels[1], width, heads)
        self.attention3 = CrossAttention(stage_channels[2], width, heads)
        self.text_head = nn.Linear(width, vocab_size)
        self.fused_head = nn.Linear(2 * width, vocab_size)

    def forward(self, text_stages, image_stages, positions):
        rows = torch.arange(len(positions))[:, None]
        stage2, stage3, stage4 = (stage[rows, positions] for stage in text_stages[1:])
        stage2 = stage2 + self.attention2(stage2, image_stages[1])
        stage3 = stage3 + self.attention3(stage3, image_stages[2])
        return self.text_head(stage4), self.fused_head(torch.cat((stage2, stage3), -1))


class TokenProjection(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.projection = nn.Linear(channels, width, bias=False)


class Objective(nn.Module):
    """The LightCLIP loss of a `batch.make_batch` batch of tensors.

    Args:
        config: a `ModelConfig`.
        gather: rows of all ranks from those of this one, differentiable; `rank` is its number.
    """

    def __init__(self, config, gather=lambda rows: rows, rank=0):
        super().__init__()
        self.gather, self.rank = gather, rank
        self.model = LightCLIP(to_dict(config), mask_token=True)
        channels = self.model.visual.stage_channels
        heads = MaskedLanguageHeads(channels, config.text_width, config.text_heads, config.vocab_size)
        self.token = nn.ModuleDict({"projection": TokenProjection(channels[-1], config.text_width)})
        self.mlm = nn.ModuleDict({"heads": heads})
        self.register_buffer("mean", 255 * torch.tensor(IMAGE_MEAN), persistent=False)
        self.register_buffer("deviation", 255 * torch.tensor(IMAGE_STD), persistent=False)

    def forward(self, image, text, masked_text, mlm_positions, mlm_labels, mlm_weights, phase):
        """Returns (loss, instance, token, mlm)."""
        pixels = ((image.float() - self.mean) / self.deviation).permute(0, 3, 1, 2).contiguous()
        image_stages, image_tokens, image_features = self.model.visual(pixels)
        stages, features = self.model.text(torch.cat((text, masked_text)))
        clean, masked = zip(*(stage.chunk(2) for stage in stages))
        instance = instance_loss(
            image_features, features[: len(text)], self.model.logit_scale.exp(), phase, self.gather, self.rank
        )
        token = token_loss(
            self.token["projection"].projection(image_tokens), clean[3], words(text, self.model.text.eot_id)
        )
        real = mlm_weights > 0
        logits = self.mlm["heads"](masked, image_stages, mlm_positions)
        mlm = sum(F.cross_entropy(head[real], mlm_labels[real]) for head in logits) / 2
        return 0.8 * instance + 0.1 * token + 0.1 * mlm, instance, token, mlm


def words(text, eot_id):
    """bool [N, L]: strictly between the first position (SOT) and the first EOT."""
    position = torch.arange(text.shape[1])
    return (position > 0) & (position < (text == eot_id).int().argmax(1, keepdim=True))


def soft_targets(logits, phase, positive):
    """Eq. 6-9."""
    if phase == 0:
        return positive.float()
    if phase == 1:
        return torch.where(positive, 1 - DELTA, DELTA / (logits.shape[1] - 1))
    negatives = logits.detach().masked_fill(positive, float("-inf")).softmax(1)
    return torch.where(positive, 1 - DELTA, DELTA * negatives)


def instance_loss(image, text, scale, phase, gather, rank):
    image, text = F.normalize(image, dim=1), F.normalize(text, dim=1)
    everyone = gather(torch.cat((image, text), 1))  # one collective for both, as ours
    all_image, all_text = everyone.chunk(2, 1)
    positive = torch.arange(len(everyone)) == torch.arange(len(image))[:, None] + rank * len(image)
    return (
        sum(
            F.cross_entropy(logits, soft_targets(logits, phase, positive))
            for logits in (scale * image @ all_text.T, scale * text @ all_image.T)
        )
        / 2
    )


def token_loss(image_tokens, text_tokens, valid):
    cost = 1 - F.normalize(image_tokens, dim=2) @ F.normalize(text_tokens, dim=2).transpose(1, 2)  # [N, P, L]
    fixed = cost.detach().numpy()
    matched = torch.zeros_like(cost)
    for i, columns in enumerate(valid.numpy()):
        patches, places = linear_sum_assignment(fixed[i][:, columns])
        matched[i, patches, columns.nonzero()[0][places]] = 1 / max(len(patches), 1)
    return (cost * matched).sum() / valid.any(1).sum().clamp(min=1)
