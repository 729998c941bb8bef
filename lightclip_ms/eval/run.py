"""One data set, one result: embed it, score it, record how."""

from dataclasses import dataclass

import numpy as np

from lightclip_ms.eval.embed import Embedded, Embedder
from lightclip_ms.eval.retrieval import KS, recall_at_k
from lightclip_ms.eval.sets.class_order import class_mapping
from lightclip_ms.eval.text_cache import embed_prompts
from lightclip_ms.eval.zeroshot import build_classifier, build_prompts, classification_scores, label_ranks


def evaluate_zeroshot(embedder: Embedder, dataset, class_names: list[str], templates: list[str]) -> dict:
    """Zero-shot accuracy on a labelled set, in percent, with chance levels, counts and speeds.

    Args:
        dataset: a labelled set (`labelled.py`).
        class_names: C names in the order of `dataset.labels`; templates: prompts with `{}`.

    Returns:
        Among others `class_names`: [folder or index, name] of every class.
    """
    texts = embed_prompts(embedder, build_prompts(class_names, templates))
    classifier = build_classifier(texts.features, len(class_names))
    images = embedder.images(dataset)
    labels = dataset.labels[images.kept]
    scores = classification_scores(label_ranks(images.features, labels, classifier), labels)
    classes = len(class_names)
    return scores | {
        "chance_top1": 100 / classes,
        "chance_top5": min(100.0, 500 / classes),
        "classes": classes,
        "templates": len(templates),
        "class_names": class_mapping(dataset, class_names),
        **_counts(images, texts),
    }


@dataclass(frozen=True)
class EmbeddedCaptions:
    """The readable images of a set and their captions: `owners` int [T] rows of `images`, `chosen` caption indices."""

    images: Embedded
    texts: Embedded
    owners: np.ndarray
    chosen: np.ndarray


def embed_captions(embedder: Embedder, dataset) -> EmbeddedCaptions:
    """Embed a caption set (`sets/captioned.py`); an unreadable image is left out together with its captions."""
    images = embedder.images(dataset)
    rows = np.full(len(dataset), -1)
    rows[images.kept] = np.arange(len(images.kept))
    owners = rows[dataset.image_of_caption]
    chosen = np.flatnonzero(owners >= 0)
    texts = embedder.texts([dataset.captions[index] for index in chosen])
    return EmbeddedCaptions(images, texts, owners[chosen], chosen)


def score_retrieval(embedded: EmbeddedCaptions) -> dict:
    """Recall at 1, 5, 10 both ways, in percent, with chance levels, counts and speeds."""
    images, texts = embedded.images, embedded.texts
    recalls = recall_at_k(images.features, texts.features, embedded.owners)
    chance = {f"chance_R@{k}": min(100.0, 100 * k / len(images.features)) for k in KS}
    return recalls | chance | {"captions": len(embedded.chosen), **_counts(images, texts)}


def _counts(images, texts) -> dict:
    """Counts and speeds; `texts_per_second` is None where the embeddings came from the cache."""
    rate = None if texts.per_second is None else round(texts.per_second, 1)
    return {
        "images": len(images.kept),
        "skipped_images": images.count - len(images.kept),
        "skipped": images.skipped,
        "images_per_second": round(images.per_second, 1),
        "texts_per_second": rate,
    }
