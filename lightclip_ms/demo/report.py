"""The demo's result: one table with chance levels, and what the model finds for some captions."""

import os

import numpy as np

from lightclip_ms.eval.embed import Embedder
from lightclip_ms.eval.retrieval import KS
from lightclip_ms.eval.run import EmbeddedCaptions, embed_captions, evaluate_zeroshot, score_retrieval
from lightclip_ms.eval.sets.captioned import CaptionShards
from lightclip_ms.eval.sets.labelled import LabelledShards
from lightclip_ms.eval.sets.prompts import load_class_names, load_templates

RETRIEVAL = {"val": "new pictures of known emojis", "unseen": "emojis never seen in training"}
# Class list: (its shards, title).
ZEROSHOT = {
    "names": ("names", "names of known emojis"),
    "unseen_names": ("unseen_names", "names of never-seen emojis"),
    "unseen_described": ("unseen_names", "names of never-seen emojis, with colours"),
    "compounds": ("compounds", "names of never-seen emojis, of known words"),
    "colours": ("colours", "background colours"),
}
EXAMPLES, PICTURES = 4, 5  # captions of each retrieval split, and pictures for each caption


def evaluate_demo(embedder: Embedder, folder: str) -> tuple[dict[str, dict], list[dict]]:
    """Results of every evaluation split of the demo data, and rows for `figures.retrieved_examples`."""
    results, rows = {}, []
    for split, title in RETRIEVAL.items():
        dataset = CaptionShards(os.path.join(folder, f"{split}.tar"))
        embedded = embed_captions(embedder, dataset)
        results[split] = score_retrieval(embedded)
        rows += _examples(dataset, embedded, title)
    for classes, (shards, _) in ZEROSHOT.items():
        dataset = LabelledShards(os.path.join(folder, f"{shards}.tar"))
        names = load_class_names(os.path.join(folder, f"{classes}.txt"))
        templates = load_templates(os.path.join(folder, f"{classes}_templates.txt"))
        results[classes] = evaluate_zeroshot(embedder, dataset, names, templates)
    return results, rows


def _examples(dataset: CaptionShards, embedded: EmbeddedCaptions, title: str) -> list[dict]:
    """Evenly spaced captions with the best pictures for them."""
    rows = []
    for text in np.linspace(0, len(embedded.chosen) - 1, EXAMPLES + 2).astype(int)[1:-1]:
        similarity = embedded.images.features @ embedded.texts.features[text]  # [N]
        found = np.argsort(-similarity, kind="stable")[:PICTURES]
        rows.append(
            {
                "caption": dataset.captions[embedded.chosen[text]],
                "note": f"{title} ({len(similarity)} pictures)",
                "pictures": [dataset.read(int(image)) for image in embedded.images.kept[found]],
                "right": [bool(image == embedded.owners[text]) for image in found],
            }
        )
    return rows


def format_table(results: dict[str, dict]) -> str:
    """One table of text: a row per split and task, percent, chance level beside each figure."""
    lines = [f"{'retrieval':<46}" + "".join(f"{f'R@{k} (chance)':>17}" for k in KS)]
    for split, title in RETRIEVAL.items():
        result = results[split]
        for direction, words in (("image_to_text", "image to text"), ("text_to_image", "text to image")):
            cells = "".join(_cell(result[f"{direction}_R@{k}"], result[f"chance_R@{k}"]) for k in KS)
            lines.append(f"{f'{words}, {title}':<46}{cells}")
    lines.append(f"{'zero-shot classification':<46}{'top-1 (chance)':>17}{'top-5 (chance)':>17}{'classes':>17}")
    for classes, (_, title) in ZEROSHOT.items():
        result = results[classes]
        lines.append(
            f"{title:<46}{_cell(result['top1'], result['chance_top1'])}"
            f"{_cell(result['top5'], result['chance_top5'])}{result['classes']:>17}"
        )
    return "\n".join(lines)


def _cell(value: float, chance: float) -> str:
    return f"{f'{value:.1f} % ({chance:.1f} %)':>17}"
