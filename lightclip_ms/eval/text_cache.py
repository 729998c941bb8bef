"""Embeddings of class prompts, kept between runs: the prompts of one ImageNet evaluation are 80,000 texts."""

import hashlib
import json

import numpy as np

import lightclip_ms
from lightclip_ms.data.cache import cached_arrays
from lightclip_ms.eval.embed import Embedded, Embedder


def embed_prompts(embedder: Embedder, prompts: list[str]) -> Embedded:
    """`embedder.texts(prompts)`, from the user's cache folder if this checkpoint embedded the same prompts before.

    `per_second` is None if nothing was computed. Several ranks, whose caches need not agree, and a model in memory
    always compute.
    """
    if embedder.world_size > 1 or embedder.towers.checksum is None:
        return embedder.texts(prompts)
    import mindspore  # loading it takes seconds

    computed = []

    def compute() -> dict[str, np.ndarray]:
        computed.append(embedder.texts(prompts))
        return {"features": computed[0].features}

    # Whatever may change the last digit belongs to the identity: a result must not depend on the cache.
    identity = json.dumps(
        [
            embedder.towers.checksum,
            embedder.batch_size,
            lightclip_ms.__version__,
            mindspore.__version__,
            mindspore.get_context("device_target"),
            prompts,
        ]
    )
    features = cached_arrays(f"prompts/{hashlib.sha256(identity.encode()).hexdigest()[:32]}", [], compute)["features"]
    return computed[0] if computed else Embedded(features, np.arange(len(prompts)), len(prompts), None)
