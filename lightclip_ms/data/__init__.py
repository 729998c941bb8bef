"""Pairs of pictures and captions: reading, augmenting, tokenizing, batching. Only MindRecord files need MindSpore."""

from lightclip_ms.data.masking import mask_tokens
from lightclip_ms.data.tokenizer import Tokenizer

__all__ = ["Tokenizer", "mask_tokens"]
