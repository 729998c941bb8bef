"""Evaluation while training, on all ranks: retrieval on `data.val`, zero-shot classification on `data.zeroshot`."""

import logging

from mindspore import nn

from lightclip_ms.config.schema import Config
from lightclip_ms.eval.embed import Embedder
from lightclip_ms.eval.ranks import join_ranks
from lightclip_ms.eval.run import embed_captions, evaluate_zeroshot, score_retrieval
from lightclip_ms.eval.sets.captioned import open_captions
from lightclip_ms.eval.sets.class_order import class_mapping, describe_classes, match_classes
from lightclip_ms.eval.sets.labelled import open_labelled
from lightclip_ms.eval.sets.prompts import load_class_names, load_templates
from lightclip_ms.eval.towers import ModelTowers
from lightclip_ms.runtime import parallel

BATCH_SIZE = 64
_LOG = logging.getLogger("lightclip_ms.train")


class Evaluation:
    """The evaluations a configuration asks for; data sets are opened, and refused, before training starts.

    Raises:
        FileNotFoundError, ValueError: a set or a list of names is missing or unusable.
    """

    def __init__(self, config: Config):
        data = config.data
        self._model_config, self._workers = config.model, data.workers
        table = data.csv_image_key, data.csv_caption_key, data.csv_separator
        self._captions = open_captions(data.val, *table) if data.val else None
        self._labelled = open_labelled(data.zeroshot) if data.zeroshot else None
        if self._labelled is not None:
            self._classes = match_classes(self._labelled, load_class_names(data.zeroshot_classes))
            self._templates = load_templates(data.zeroshot_templates)
            _LOG.info("data.zeroshot: %s", describe_classes(class_mapping(self._labelled, self._classes)))

    def run(self, model: nn.Cell) -> dict[str, float]:
        """Recalls, their mean, and accuracies in percent; empty if nothing is configured. `model` stays in its mode."""
        if self._captions is None and self._labelled is None:
            return {}
        ranks = join_ranks()
        statistics = [parameter for parameter in model.get_parameters() if not parameter.requires_grad]
        parallel.copy_from_first(
            statistics, ranks.world_size
        )  # batch norm: use rank 0's on every rank, because those are saved
        training = model.training
        model.set_train(False)
        embedder = Embedder(ModelTowers(model, self._model_config), BATCH_SIZE, self._workers, ranks)
        results = {}
        if self._captions is not None:
            results |= score_retrieval(embed_captions(embedder, self._captions))
        if self._labelled is not None:
            results |= evaluate_zeroshot(embedder, self._labelled, self._classes, self._templates)
        model.set_train(training)
        return {
            name: value
            for name, value in results.items()
            if name.split("_R@")[0] in ("image_to_text", "text_to_image")
            or name in ("mean_recall", "top1", "top5", "mean_per_class")
        }
