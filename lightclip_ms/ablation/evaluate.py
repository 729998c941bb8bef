"""Scores of one cell, picture by picture: `python -m lightclip_ms.ablation.evaluate RUN KIND TEST OUT`.

Per-picture scores make the differences between two methods paired: both saw the same test pictures.
"""

import re
import sys
from pathlib import Path

import numpy as np

from lightclip_ms.eval.embed import Embedder
from lightclip_ms.eval.retrieval import KS, recall_at_k, retrieval_ranks
from lightclip_ms.eval.run import embed_captions
from lightclip_ms.eval.sets import classification as classification_sets
from lightclip_ms.eval.sets import retrieval as retrieval_sets
from lightclip_ms.eval.sets.captioned import open_captions
from lightclip_ms.eval.sets.labelled import match_classes, open_labelled
from lightclip_ms.eval.sets.prompts import load_templates
from lightclip_ms.eval.text_cache import embed_prompts
from lightclip_ms.eval.towers import CheckpointTowers
from lightclip_ms.eval.zeroshot import build_classifier, build_prompts, classification_scores, label_ranks
from lightclip_ms.model.weights import read_checkpoint
from lightclip_ms.runtime import backend
from lightclip_ms.runtime.exits import main_guard
from lightclip_ms.runtime.files import read_json_lines, write_json

_OF_HEADS = re.compile(r"update/optimizer\.(groups\.\d+\.)?moment1\.objective\.(?!model\.)")


def score_retrieval(embedder: Embedder, test: str) -> dict:
    """Mean recall of `test`, and per picture [N] the mean over both directions and k of "found within k".

    Args:
        test: shards or a table with captions, or SET:ROOT, a retrieval set under ROOT.
    """
    key, _, root = test.partition(":")
    if key in retrieval_sets.SETS:
        dataset = retrieval_sets.open_set(key, _located(retrieval_sets.locate(key, root), test))
    else:
        dataset = open_captions(test)
    embedded = embed_captions(embedder, dataset)
    arguments = (embedded.images.features, embedded.texts.features, embedded.owners)
    image_ranks, text_ranks = retrieval_ranks(*arguments)
    found_images = np.mean([image_ranks < k for k in KS], axis=0)
    found_texts = np.mean([text_ranks < k for k in KS], axis=0)
    captions = np.bincount(embedded.owners)
    per_picture = (found_images + np.bincount(embedded.owners, weights=found_texts) / captions) / 2
    return {"metric": "mean recall", "details": recall_at_k(*arguments), "per_picture": (100 * per_picture).tolist()}


def score_zeroshot(embedder: Embedder, test: str) -> dict:
    """Top-1 of `test`: a folder or shards of labelled pictures, or SET:ROOT, a classification set under ROOT."""
    key, _, root = test.partition(":")
    if key in classification_sets.READERS:
        folder = _located(classification_sets.locate(key, root), test)
        (dataset, names), templates = classification_sets.open_set(key, folder), load_templates(key)
    else:
        dataset, templates = open_labelled(test), load_templates("plain")
        names = match_classes(dataset, None)
    texts = embed_prompts(embedder, build_prompts(names, templates))
    images = embedder.images(dataset)
    labels = dataset.labels[images.kept]
    ranks = label_ranks(images.features, labels, build_classifier(texts.features, len(names)))
    return {
        "metric": "top-1",
        "details": classification_scores(ranks, labels),
        "per_picture": (100.0 * (ranks == 0)).tolist(),
    }


def _located(found, test: str):
    if found is None:
        raise FileNotFoundError(f"{test}: that set is not in this folder")
    return found


KINDS = {"retrieval": score_retrieval, "zeroshot": score_zeroshot}


def costs(run: Path) -> dict:
    """Parameters in training and inference, the last measured rate and processor time, the most memory of a run.

    Memory is that of the device where it has its own.
    """
    arrays, _ = read_checkpoint(sorted((run / "checkpoints").glob("*.safetensors"))[-1])
    model = sum(array.size for name, array in arrays.items() if name.startswith("model/"))
    # Of the terms' arrays only those with moments: a queue is no parameter, nor are the statistics of norms.
    heads = sum(array.size for name, array in arrays.items() if _OF_HEADS.match(name))
    records = [record for record in read_json_lines(run / "metrics.jsonl") if "images_per_second" in record]
    return {
        "parameters": int(model),
        "training_parameters": int(model + heads),
        "images_per_second": records[-1]["images_per_second"] if records else None,
        "processor_seconds": records[-1].get("processor_seconds") if records else None,
        "memory_mb": max((each.get("device_memory_mb", each["memory_mb"]) for each in records), default=None),
    }


@main_guard
def main() -> None:
    run, kind, test, out = sys.argv[1:]
    backend.prepare_device("auto")
    scores = KINDS[kind](Embedder(CheckpointTowers(str(Path(run, "model.safetensors")))), test)
    value = float(np.mean(scores["per_picture"]))
    write_json(out, {"value": value, **scores, **costs(Path(run))})


if __name__ == "__main__":
    main()
