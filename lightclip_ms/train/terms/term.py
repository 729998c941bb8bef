"""What a term of the objective is: the two contracts that `train.objective` computes, and terms by name.

Legend: N pairs of this rank or of a part of its batch, G pairs of all ranks.

Features that a term may read, all of the rank's own batch:
    image, text: pooled embeddings [N, E]; image_2, image_3, text_2: those of further views, where the batch has them
    image_tokens [N, P, C], image_stages: four of [N, P_s, C_s]
    text_tokens [N, L, D], after the final LayerNorm; undefined behind the end of text
    masked_slots: the text stages of the masked captions at the masked slots, four of [N, M, D]
    logit_scale: 1 / temperature, float32 [1]
The batch holds the parts of `data.batch`, and `phase`, the label phase (int32 scalar).
"""

import importlib

from mindspore import nn

from lightclip_ms.config.loss import LossConfig, active


class Term(nn.Cell):
    """One weighted loss.

    Attributes:
        parts: parts of the batch it needs beside image and text; the pipeline prepares only what a term asks for.
        logs: names of the numbers it logs beside its loss; each is a mean over pairs.
        name, weight: as the configuration has them.

    Args:
        name: of the term.
        model: the `LightCLIP`, for its sizes; a term's own heads are its child Cells, trained but never exported.
        loss: `LossConfig`.
        rank: of this process.
    """

    parts: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()

    def __init__(self, name: str, model: nn.Cell, loss: LossConfig, rank: int = 0):
        super().__init__()
        self.name = name
        self.weight = getattr(loss, f"{name}_weight")
        self.rank = rank

    def take_error(self) -> Exception | None:
        """What made this term's loss NaN since the last call, if it knows; asked on the host after each step."""
        return None

    def advice(self, record: dict) -> str:
        """What the progress line should add about a step's metrics; "" is nothing."""
        return ""


class PairTerm(Term):
    """A mean over pairs, slots or the like, which may be computed for one part of the batch after another.

    A subclass defines two methods:

    count(batch) -> float32 scalar
        what the mean over this batch divides by; ranks and parts are weighted by it.
    construct(features, batch) -> (loss, logs)
        the mean over the batch, float32 scalar, and a tuple of the numbers that `logs` names.

    A term that needs the host while the device could go on sets `starts_early` and defines a third one:

    begin(features, batch) -> features
        hands the work to the host, and adds its ticket as `features["ticket"]`. All other terms are computed between
        `begin` and `construct`, which may wait for the host. One term of an objective may do so.
    """

    starts_early = False


class BatchTerm(Term):
    """A comparison of pairs with each other: it sees the rank's whole batch, and of all ranks what `local` returns.

    A subclass defines two methods:

    local(features, batch) -> tuple of float arrays [N, ...]
        what the loss needs of all ranks; projection heads go here.
    construct(own, everyone, features, batch) -> (loss, logs)
        the loss of this rank's rows, whose mean over ranks is the loss of the whole batch. `own` is what `local`
        returned, `everyone` the same of all ranks [G, ...], in which this rank's rows start at rank * N.

    Attributes:
        features: names of the features that `local` and `construct` read, besides `logit_scale`; arrays [N, ...].
    """

    features: tuple[str, ...] = ("image", "text")


def make_terms(model: nn.Cell, loss: LossConfig, rank: int = 0) -> tuple[Term, ...]:
    """The terms with a weight above 0: `InstanceTerm` of instance.py, `TokenTerm` of token.py and so on."""
    return tuple(_class_of(name)(name, model, loss, rank) for name in active(loss))


def needed_parts(loss: LossConfig) -> tuple[str, ...]:
    """The parts of the batch that the active terms need beside image and text."""
    return tuple(dict.fromkeys(part for name in active(loss) for part in _class_of(name).parts))


def _class_of(name: str) -> type[Term]:
    module = importlib.import_module(f"{__package__}.{name}")
    return getattr(module, f"{name.title().replace('_', '')}Term")
