"""A synthetic training batch as `data.pipeline` delivers it, for both frameworks."""

import functools
import math

import numpy as np

from lightclip_ms.config.schema import DataConfig
from lightclip_ms.data import Tokenizer
from lightclip_ms.data.batch import CAPTIONS, LIGHTCLIP_PARTS, BatchLayout
from lightclip_ms.data.masking import mask_tokens
from lightclip_ms.data.packing import choose_rows, pack_groups, rows_needed
from lightclip_ms.data.pipeline import TrainData


def uniform_lengths(rng: np.random.Generator, count: int) -> np.ndarray:
    """Tokens of captions of 6 to 18 tokens, 12 on average, without SOT and EOT: int [count]."""
    return rng.integers(6, 19, count)


def cc12m_lengths(rng: np.random.Generator, count: int) -> np.ndarray:
    """The same for CC12M's published word counts: log-normal, mean 20.2, deviation 16.3, at 1.25 tokens per word."""
    mean, deviation = 20.2, 16.3
    spread = math.log(1 + (deviation / mean) ** 2)
    words = rng.lognormal(math.log(mean) - spread / 2, math.sqrt(spread), count)
    return np.maximum(1, np.round(1.25 * words)).astype(np.int64)


LENGTHS = {"cc12m": cc12m_lengths, "uniform": uniform_lengths}
LENGTHS_HELP = (
    f"of captions: {', '.join(LENGTHS)}, or those of a data set, as 'folder/train-*.tar' (default %(default)s)"
)
SAMPLED, SIMULATED = 2048, 200  # captions that R is chosen from; batches that tell how often it is too small
STEPS = 100_000  # of the run that R is chosen for


def draw_lengths(
    lengths: str, context_length: int, vocab_size: int, rng: np.random.Generator, count: int
) -> np.ndarray:
    """Tokens of captions, SOT and EOT included, cut to the context: int [count]; `lengths` as `LENGTHS_HELP`."""
    if lengths in LENGTHS:
        return np.minimum(LENGTHS[lengths](rng, count) + 2, context_length)
    return np.minimum(rng.choice(_data_lengths(lengths, vocab_size), count), context_length)


@functools.cache
def _data_lengths(shards: str, vocab_size: int) -> np.ndarray:
    tokenizer = Tokenizer(vocab_size=vocab_size)
    data = TrainData(DataConfig(train=shards), tokenizer, BatchLayout(1, 8, tokenizer.context_length, 1))
    return data.sample_lengths(SAMPLED)


def make_batch(
    batch_size: int, image_size: int, context_length: int, vocab_size: int, lengths: str = "uniform", seed: int = 0
) -> dict:
    """The parts of a `BatchLayout`, unpacked and packed, by name."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (batch_size, image_size, image_size, 3), np.uint8)
    text = np.zeros((batch_size, context_length), np.int32)
    for row, size in zip(text, draw_lengths(lengths, context_length, vocab_size, rng, batch_size)):
        row[:size] = [vocab_size - 2, *rng.integers(0, vocab_size - 2, size - 2), vocab_size - 1]
    batch = dict(zip(LIGHTCLIP_PARTS, (image, text, *mask_tokens(text, rng, vocab_size=vocab_size))))
    captions = [batch[name] for name in CAPTIONS if name in batch]
    rows = packed_rows(batch_size, context_length, vocab_size, lengths)
    return {**batch, **pack_groups(captions, vocab_size - 1, rows, 1)}


def packed_rows(batch_size: int, context_length: int, vocab_size: int, lengths: str, copies: int = 2) -> int:
    """R for a data set with these lengths, each caption in `copies` forms: clean, masked, ..."""
    sample = draw_lengths(lengths, context_length, vocab_size, np.random.default_rng(1), SAMPLED)
    return choose_rows(sample, batch_size, copies, context_length, steps=STEPS)


def overflow_share(rows: int, batch_size: int, context_length: int, vocab_size: int, lengths: str) -> float:
    """Share of batches that do not fit into R rows."""
    rng, lost = np.random.default_rng(2), 0
    for _ in range(SIMULATED):
        drawn = draw_lengths(lengths, context_length, vocab_size, rng, batch_size)
        lost += rows_needed(np.tile(drawn, 2), context_length) > rows
    return lost / SIMULATED
