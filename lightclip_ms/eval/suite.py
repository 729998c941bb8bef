"""All data sets of the paper in one go: what is there is evaluated, what is not is named."""

from collections.abc import Iterator
from dataclasses import dataclass

from lightclip_ms.eval.embed import Embedder
from lightclip_ms.eval.run import embed_captions, evaluate_zeroshot, score_retrieval
from lightclip_ms.eval.sets import classification as classification_sets
from lightclip_ms.eval.sets import retrieval as retrieval_sets
from lightclip_ms.eval.sets.prompts import built_in, load_templates

CLASSIFICATION = tuple(classification_sets.READERS)
RETRIEVAL = tuple(retrieval_sets.SETS)


@dataclass(frozen=True)
class Plan:
    """Opened sets by key: (data set, class names, templates), and captions; for each absent one, where to put it."""

    classification: dict[str, tuple]
    retrieval: dict[str, object]
    absent: dict[str, str]


def plan(data_root: str, sets: list[str], templates: dict[str, str]) -> Plan:
    """Open every set that lies under `data_root`, so that a broken one is found before any work is done.

    Args:
        sets: keys of `CLASSIFICATION` and `RETRIEVAL`.
        templates: set -> text or YAML file that replaces the set's own prompts.

    Raises:
        ValueError, FileNotFoundError: an unknown key, a broken set, or nothing at all under `data_root`.
    """
    unknown = sorted({*sets, *templates} - {*CLASSIFICATION, *RETRIEVAL})
    if unknown:
        raise ValueError(f"unknown data set {unknown[0]!r}; known: {', '.join((*CLASSIFICATION, *RETRIEVAL))}")
    classification, retrieval, absent = {}, {}, {}
    for key in sets:
        if key in RETRIEVAL:
            found = retrieval_sets.locate(key, data_root)
            if found is None:
                absent[key] = retrieval_sets.SETS[key]["where"]
            else:
                retrieval[key] = retrieval_sets.open_set(key, found)
            continue
        found = classification_sets.locate(key, data_root)
        if found is None:
            absent[key] = built_in()[key]["where"]
        else:
            prompts = load_templates(templates.get(key, key))
            classification[key] = (*classification_sets.open_set(key, found), prompts)
    if not classification and not retrieval:
        raise FileNotFoundError(f"{data_root}: none of the data sets is there; for instance put {absent[sets[0]]}")
    return Plan(classification, retrieval, absent)


def run(embedder: Embedder, opened: Plan) -> Iterator[dict[str, dict]]:
    """Evaluate the opened sets, and after each one yield the results so far by set, so that a crash loses only one.

    `value` is the figure the field reports, `expected_images` the official size.
    """
    results = {}
    for key, (dataset, names, templates) in opened.classification.items():
        result = evaluate_zeroshot(embedder, dataset, names, templates)
        metric = built_in()[key]["metric"]
        expected = built_in()[key]["images"]
        results[key] = {"value": result[metric], "metric": metric, "expected_images": expected, **result}
        yield results
    for key, dataset in opened.retrieval.items():
        result = score_retrieval(embed_captions(embedder, dataset))
        results[key] = {"expected_images": retrieval_sets.SETS[key]["count"], **result}
        yield results
