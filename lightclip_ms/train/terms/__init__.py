"""The terms of the objective: one file each in this folder, one entry each here; docs/extending.md adds one.

An entry states the term's configuration keys, so that a configuration is checked without loading MindSpore; the file
of that name holds the Cell that computes it. The order here is the order of the sum and of the log.
"""

from itertools import combinations

from lightclip_ms.config.checks import require
from lightclip_ms.config.loss import Key, count, declare, one_of, positive, share


def _phases_in_order(loss) -> None:
    require(loss.r1 <= loss.r2, "loss.r1", loss.r1, f"it must not exceed loss.r2 ({loss.r2})")


def _matching_fits_its_mean(loss) -> None:
    require(
        loss.matching == "bipartite" or loss.normalizer == "sample",
        "loss.normalizer",
        loss.normalizer,
        "with loss.matching=best_patch every text has the mean over its words; use sample",
    )


_STAGES = [chosen for count in range(1, 5) for chosen in combinations((1, 2, 3, 4), count)]

declare(
    "instance",
    weight=0.8,
    trains_embeddings=True,
    check=_phases_in_order,
    labels=one_of("progressive", "hard", "smoothed", "importance"),
    delta=share(0.2),
    r1=share(0.33),
    r2=share(0.66),
    source=one_of("logits", "cosine", "probs"),
)
declare(
    "token",
    weight=0.1,
    check=_matching_fits_its_mean,
    matching=one_of("bipartite", "best_patch"),
    normalizer=one_of("sample", "image_tokens", "pairs"),
)
declare(
    "mlm",
    weight=0.1,
    mask_ratio=Key(0.15, lambda value: 0 < value < 1, "use a share between 0 and 1"),
    mlm_rows_per_text=positive(4.0, "use about twice the masked tokens of an average caption"),
    mlm_heads=one_of("text+fused", "text"),
    fused_stages=Key((2, 3), lambda value: value in _STAGES, "use a list of some of 1, 2, 3, 4, in that order"),
)
declare("filip", weight=0.0)
declare("siglip", weight=0.0, trains_embeddings=True)
declare(
    "simclr",
    weight=0.0,
    simclr_temperature=positive(0.1),
    simclr_hidden=count(4096),
    simclr_width=count(256),
)
declare("simsiam", weight=0.0, simsiam_width=count(1024), simsiam_hidden=count(512))
declare("multi_view", weight=0.0, trains_embeddings=True)
declare("neighbour", weight=0.0, queue_size=count(65536))
