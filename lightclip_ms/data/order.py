"""Which sample comes when: a pure function of the seed, the epoch and the shards, the same on every rank."""

import numpy as np


def epoch_order(shard_sizes, seed: int, epoch: int, window: int) -> np.ndarray:
    """All samples of an epoch, each once: shards shuffled, then samples shuffled among every `window` shards in a row.

    Args:
        shard_sizes: int [S], samples of each shard; sample indices count through the shards in their own order.

    Returns:
        int64 [sum(shard_sizes)].
    """
    sizes = np.asarray(shard_sizes, np.int64)
    firsts = np.cumsum(sizes) - sizes
    rng = np.random.default_rng([seed, epoch])
    shards = rng.permutation(len(sizes))
    parts = []
    for start in range(0, len(shards), window):
        group = np.concatenate([np.arange(firsts[s], firsts[s] + sizes[s]) for s in shards[start : start + window]])
        rng.shuffle(group)  # neighbours in the stream come from few shards, so reads stay local
        parts.append(group)
    return np.concatenate(parts)


def steps_per_epoch(num_samples: int, batch_size: int, world_size: int) -> int:
    """Steps of every rank; the incomplete last global batch is dropped, shuffling makes it others each epoch.

    Raises:
        ValueError: not one global batch.
    """
    steps = num_samples // (batch_size * world_size)
    if not steps:
        raise ValueError(
            f"batch size {batch_size} on {world_size} rank(s) needs {batch_size * world_size} samples, "
            f"the data set has {num_samples}: use a smaller train.batch_size or fewer ranks"
        )
    return steps


def rank_batches(order: np.ndarray, batch_size: int, rank: int, world_size: int) -> np.ndarray:
    """One rank's part of an epoch, int64 [steps, batch_size]: step s holds its slice of the s-th global batch."""
    steps = steps_per_epoch(len(order), batch_size, world_size)
    return order[: steps * world_size * batch_size].reshape(steps, world_size, batch_size)[:, rank]
