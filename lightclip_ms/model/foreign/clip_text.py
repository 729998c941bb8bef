"""Text towers of OpenAI's CLIP and of open_clip, for towers here of the same depth or a shallower one."""

import numpy as np

from lightclip_ms.config.schema import ModelConfig
from lightclip_ms.model.foreign.mapping import Mapping

STAGES = 4


def map_text(mapping: Mapping, config: ModelConfig) -> None:
    """The text tower of a whole CLIP; its image tower and its temperature are left out.

    Raises:
        ValueError: the tower of the configuration is deeper, or has another width or vocabulary.
    """
    prefix = "text." if "text.token_embedding.weight" in mapping else ""  # open_clip's models with custom text towers
    _map_embeddings(mapping, prefix, config)
    blocks = sum(
        name.startswith(f"{prefix}transformer.resblocks.") and name.endswith("ln_1.weight") for name in mapping.tensors
    )
    chosen = spread(blocks, config.text_layers)
    per_stage = config.text_layers // STAGES
    for place, block in enumerate(chosen):
        target = f"text.stages.{place // per_stage}.{place % per_stage}"
        _map_block(mapping, target, f"{prefix}transformer.resblocks.{block}")
    mapping.norm("text.norm", f"{prefix}ln_final")
    projection = f"{prefix}text_projection"
    mapping.copy("text.projection.weight", projection, np.transpose)
    if mapping.arrays["text.projection.weight"].shape[0] != config.embed_dim:
        size = mapping.arrays.pop("text.projection.weight").shape[0]
        mapping.origins.pop("text.projection.weight")
        mapping.stays_fresh = ("text.projection.",)
        mapping.differences.append(
            f"projection: to {size} there, to {config.embed_dim} here: it stays fresh; model.embed_dim={size} keeps it"
        )
    skipped = [f"{prefix}transformer.resblocks.{block}.*" for block in range(blocks) if block not in chosen]
    mapping.leave_out("visual.*", "logit_*", projection, "input_resolution", "context_length", "vocab_size", *skipped)
    if len(chosen) < blocks:
        mapping.differences.append(
            f"depth: {blocks} blocks there, {len(chosen)} here: blocks {', '.join(str(block + 1) for block in chosen)} "
            "are taken, the others left out; a start, not the same network"
        )
    mapping.differences.append(
        f"activation: {config.text_activation} here; OpenAI's weights need quick_gelu, "
        "LAION's and other open_clip models without -quickgelu in their name need model.text_activation: gelu"
    )


def spread(blocks: int, layers: int) -> list[int]:
    """Which of a source's blocks a tower of fewer layers takes: evenly spaced, the last one always among them.

    Raises:
        ValueError: the tower has more layers than the source.
    """
    if layers > blocks:
        raise ValueError(f"the source's text tower has {blocks} blocks; set model.text_layers to {blocks} or fewer")
    return [(place + 1) * blocks // layers - 1 for place in range(layers)]


def _map_embeddings(mapping: Mapping, prefix: str, config: ModelConfig) -> None:
    words, positions = f"{prefix}token_embedding.weight", f"{prefix}positional_embedding"
    vocabulary, width = mapping.tensors[words].shape
    if (vocabulary, width) != (config.vocab_size, config.text_width):
        raise ValueError(
            f"{mapping.where}: a text tower of {vocabulary} words and width {width}, the configuration has "
            f"{config.vocab_size} and {config.text_width}; set model.vocab_size={vocabulary}, model.text_width={width} "
            f"and model.text_heads={width // 64}"
        )
    # one row more for <|mask|>, which CLIP does not have: the mean of all words
    mapping.copy("text.token_embedding", words, lambda array: np.concatenate([array, array.mean(0, keepdims=True)]))
    mapping.differences.append(f"<|mask|>, row {vocabulary}: not there, the mean of all words here")
    length = len(mapping.tensors[positions])
    if length < config.context_length:
        raise ValueError(
            f"{mapping.where}: a text tower of {length} positions; set model.context_length to {length} or fewer"
        )
    mapping.copy("text.positional_embedding", positions, lambda array: array[: config.context_length])
    if length > config.context_length:
        mapping.differences.append(f"context: {length} positions there, the first {config.context_length} here")


def _map_block(mapping: Mapping, target: str, source: str) -> None:
    mapping.norm(f"{target}.norm1", f"{source}.ln_1")
    mapping.query_key_value(target, f"{source}.attn.in_proj_weight", f"{source}.attn.in_proj_bias")
    mapping.layer(f"{target}.out", f"{source}.attn.out_proj")
    mapping.norm(f"{target}.norm2", f"{source}.ln_2")
    mapping.layer(f"{target}.expand", f"{source}.mlp.c_fc")
    mapping.layer(f"{target}.contract", f"{source}.mlp.c_proj")
