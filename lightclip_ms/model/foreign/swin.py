"""Swin transformers of timm and of Microsoft's repository, any depth and width."""

from lightclip_ms.config.schema import ModelConfig
from lightclip_ms.model.foreign.mapping import Mapping


def map_swin(mapping: Mapping, config: ModelConfig) -> None:
    mapping.layer("visual.patch_embed", "patch_embed.proj")
    mapping.pixel_layers.append(("visual.patch_embed.weight", "visual.patch_embed.bias"))
    mapping.norm("visual.patch_norm", "patch_embed.norm")
    # timm merges patches at the start of a stage, Microsoft at its end
    first_merge = 0 if "layers.0.downsample.norm.weight" in mapping else 1
    for stage in range(4):
        block = 0
        while f"layers.{stage}.blocks.{block}.norm1.weight" in mapping:
            _map_block(mapping, f"visual.stages.{stage}.blocks.{block}", f"layers.{stage}.blocks.{block}")
            block += 1
    for merge in range(3):
        source = f"layers.{merge + first_merge}.downsample"
        mapping.norm(f"visual.merges.{merge}.norm", f"{source}.norm")
        mapping.layer(f"visual.merges.{merge}.reduction", f"{source}.reduction", bias=False)
    mapping.norm("visual.norm", "norm")
    mapping.stays_fresh = ("visual.head.",)
    mapping.leave_out("head.*", "*.relative_position_index", "*.attn_mask")
    if config.image_options.get("activation", "quick_gelu") != "gelu":
        mapping.differences.append(
            "activation: GELU there, QuickGELU here; image_options: {activation: gelu} makes it exact"
        )


def _map_block(mapping: Mapping, target: str, source: str) -> None:
    inner = f"{target}.block"
    mapping.norm(f"{inner}.norm1", f"{source}.norm1")
    mapping.query_key_value(inner, f"{source}.attn.qkv.weight", f"{source}.attn.qkv.bias")
    mapping.layer(f"{inner}.out", f"{source}.attn.proj")
    mapping.copy(f"{target}.relative_bias", f"{source}.attn.relative_position_bias_table")
    mapping.norm(f"{inner}.norm2", f"{source}.norm2")
    mapping.layer(f"{inner}.expand", f"{source}.mlp.fc1")
    mapping.layer(f"{inner}.contract", f"{source}.mlp.fc2")
