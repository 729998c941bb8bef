"""The total loss (Eq. 1): both encoders, then one term after another, as one Cell.

N pairs on this rank, G on all ranks, S image side, E embedding size.
"""

import mindspore as ms
from mindspore import Tensor, nn, ops

from lightclip_ms import losses
from lightclip_ms.config.loss import LossConfig
from lightclip_ms.data.batch import CAPTIONS, PARTS, step_inputs
from lightclip_ms.data.eval_transform import IMAGE_MEAN, IMAGE_STD
from lightclip_ms.model.fusion import pick_slots
from lightclip_ms.runtime import parallel
from lightclip_ms.train.joined_gather import JoinedGather
from lightclip_ms.train.sync_batch_norm import synchronize_batch_norm
from lightclip_ms.train.terms.term import BatchTerm, make_terms, needed_parts

IMAGE_VIEWS = ("image_2", "image_3")


class Objective(nn.Cell):
    """LightCLIP's training loss of one batch, as the sum of weighted terms.

    Training-only parts belong to the terms and not to the model, so no inference checkpoint or graph holds them. A term
    whose weight is 0 is not built.

    Args:
        model: `LightCLIP`.
        config: weights and parameters of the terms.
        rank, world_size: of this process and of the job.
        packed: captions come packed (`data.packing`).

    Attributes:
        parts: names of the batch's parts in the order in which a batch comes (see `BatchLayout`).
        metrics: names of the numbers that `construct` returns.
    """

    def __init__(self, model: nn.Cell, config: LossConfig, rank: int = 0, world_size: int = 1, packed: bool = False):
        super().__init__()
        self.model = model
        self.world_size = world_size
        self.packed = packed
        self.gather = JoinedGather(rank, world_size)
        self.sum_over_ranks = parallel.Sum(world_size)
        terms = make_terms(model, config, rank)
        for term in terms:
            setattr(self, term.name, term)  # so that its parameters are named after it
            # Norms in heads see the batch of all ranks, as the loss behind them does, whatever the towers' norms do.
            synchronize_batch_norm(term, rank, world_size)
        self.terms = terms
        self.batch_terms = tuple(term for term in terms if isinstance(term, BatchTerm))
        pair_terms = [term for term in terms if not isinstance(term, BatchTerm)]
        # A term that waits for the host is computed last, behind all that may run meanwhile.
        self.pair_terms = tuple(sorted(pair_terms, key=lambda term: term.starts_early))
        self.early_terms = tuple(term for term in pair_terms if term.starts_early)
        # Where each term's loss and logs are in the vector of its group.
        self._compares = tuple(term in self.batch_terms for term in terms)
        self._places, self._log_places = _places(terms, self.batch_terms, self.pair_terms)
        parts = ordered_parts(config)
        self.captions = tuple(name for name in CAPTIONS if name in parts)
        self.parts = step_inputs(parts, packed)
        self.metrics = ("loss", *(term.name for term in terms), *(name for term in terms for name in term.logs))
        self.pixel_mean = Tensor([255 * value for value in IMAGE_MEAN], ms.float32)
        self.pixel_scale = Tensor([1 / (255 * value) for value in IMAGE_STD], ms.float32)

    def construct(self, arrays, phase):
        """The loss of a batch.

        Args:
            arrays: tuple of the parts of a `BatchLayout`. Images are uint8 [N, S, S, 3] and scaled here, so that a
                quarter of the bytes crosses to the device.
            phase: label phase, int32 scalar.

        Returns:
            (loss, float32 [len(metrics)]), whose means over ranks are those of one rank with the whole batch.
        """
        batch = self.name_parts(arrays, phase)
        features = self.begin(self.encode(batch), batch)
        compared, averaged, earlier = None, None, ()
        if self.batch_terms:
            compared = self.compare(features, batch)
            earlier = (compared,)
        if self.pair_terms:
            averaged = self.average(features, batch, self.totals(batch), earlier)
        return self.combine(compared, averaged)

    def name_parts(self, arrays, phase):
        """The batch as a dictionary, with the label phase."""
        batch = {"phase": phase}
        for index, name in enumerate(self.parts):
            batch[name] = arrays[index]
        return batch

    def encode(self, batch):
        """Every feature that the batch allows, see `terms.term`."""
        # Both towers return every stage; what no term reads is removed when the graph is compiled.
        visual = self.model.visual
        image_stages, image_tokens, image = visual.forward_features(self.normalize(batch["image"]))
        features = {"image": image, "image_tokens": image_tokens, "image_stages": image_stages}
        for view in IMAGE_VIEWS:
            if view in batch:  # decided when the graph is built
                features[view] = visual(self.normalize(batch[view]))
        if self.packed:
            features = self._encode_packed_texts(batch, features)
        else:
            features = self._encode_texts(batch, features)
        features["logit_scale"] = self.model.logit_scale.exp()
        return features

    def _encode_texts(self, batch, features):
        """Clean, masked and further captions as one batch, each in a row of its own: one set of large products."""
        count = batch["text"].shape[0]
        ids, names = (), ()
        for name in self.captions:
            if name in batch:
                ids += (batch[name],)
                names += (name,)
        stages, pooled = self.model.text.forward_features(ops.concat(ids) if len(ids) > 1 else ids[0])
        features["text_tokens"] = stages[3][:count]
        for index, name in enumerate(names):
            if name == "masked_text":
                masked = rows_of(stages, index * count, (index + 1) * count)
                features["masked_slots"] = pick_slots(masked, batch["mlm_positions"])
            else:
                features[name] = pooled[index * count : (index + 1) * count]
        return features

    def _encode_packed_texts(self, batch, features):
        """The same from packed rows; what a term reads is gathered by its place among the R * L tokens."""
        text = self.model.text
        stages = text.forward_packed(batch["packed_ids"], batch["packed_segments"], batch["packed_positions"])
        flat = ()
        for stage in stages:
            flat += (stage.reshape(-1, text.width),)
        count, length = batch["text"].shape
        starts = batch["packed_starts"].reshape(-1, 1)
        # Behind the end of a caption its row goes on with another one; no term reads that.
        places = ops.minimum(starts[:count] + ops.arange(length).astype(ms.int32), flat[3].shape[0] - 1)
        features["text_tokens"] = ops.gather(flat[3], places.reshape(-1), 0).reshape(count, length, text.width)
        pooled = text.project(ops.gather(flat[3], batch["packed_ends"], 0))
        for index, name in enumerate(self.captions):
            if name == "masked_text":
                slots = starts[index * count : (index + 1) * count] + batch["mlm_positions"]  # [N, M]
                picked = ()
                for stage in flat:
                    picked += (ops.gather(stage, slots.reshape(-1), 0).reshape(slots.shape + (text.width,)),)
                features["masked_slots"] = picked
            else:
                features[name] = pooled[index * count : (index + 1) * count]
        return features

    def begin(self, features, batch):
        """Let the host start what a term will wait for; whatever reads the features returned comes after that."""
        for term in self.early_terms:
            features = term.begin(features, batch)
            features = _behind(features, features["ticket"])
        return features

    def compare(self, features, batch):
        """Losses, then logs of the `BatchTerm`s, float32 [losses + logs]; one gather serves all of them."""
        own = ()
        for term in self.batch_terms:
            own += (term.local(features, batch),)
        everyone = self.gather(own)
        values, logs = (), ()
        for index, term in enumerate(self.batch_terms):
            value, more = term(own[index], everyone[index], features, batch)
            values += (value,)
            logs += more
        return ops.stack(values + logs)

    def totals(self, batch):
        """What the means of the `PairTerm`s divide by over all ranks, float32 [terms]."""
        return self.sum_over_ranks(self._counts(batch))

    def average(self, features, batch, totals, earlier=()):
        """Losses, then logs of the `PairTerm`s on a batch or a part of one, float32 [losses + logs].

        A term that waits for the host does so once `earlier`, a tuple of arrays, and the other terms are computed.

        Summed over the parts of a rank's batch, the mean of each loss over ranks is that of one rank with the whole
        batch; the logs are means of the part.
        """
        counts = self._counts(batch)
        values, logs = (), ()
        for index, term in enumerate(self.pair_terms):
            if term.starts_early:
                features["ticket"] = ops.depend(features["ticket"], (totals,) + earlier + values)
            value, more = term(features, batch)
            values += (value * losses.rank_weight(counts[index], totals[index], self.world_size),)
            logs += more
        return ops.stack(values + logs)

    def combine(self, compared, averaged):
        """Eq. 1 of what `compare` and `average` returned: (total loss, float32 [len(metrics)])."""
        total = ops.zeros((), ms.float32)
        values, logs = (), ()
        for index, term in enumerate(self.terms):
            group = compared if self._compares[index] else averaged
            value = group[self._places[index]]
            total = total + term.weight * value  # Eq. 1
            values += (value,)
            for place in self._log_places[index]:
                logs += (group[place],)
        return total, ops.stack((total,) + values + logs)

    def normalize(self, pixels):
        """uint8 [N, S, S, 3] -> float32 [N, 3, S, S] as the encoders take it."""
        return ((pixels.astype(ms.float32) - self.pixel_mean) * self.pixel_scale).transpose(0, 3, 1, 2)

    def _counts(self, batch):
        counts = ()
        for term in self.pair_terms:
            counts += (term.count(batch),)
        return ops.stack(counts)


def ordered_parts(config: LossConfig) -> tuple[str, ...]:
    """Names of the parts of a batch for the active terms, in the order of `data.batch.PARTS`."""
    needed = {"image", "text", *needed_parts(config)}
    return tuple(name for name in PARTS if name in needed)


def _behind(features, ticket):
    """The same features, none of which is read before `ticket` is there."""
    later = {"ticket": ticket}
    for name, value in features.items():
        if name == "ticket":
            continue
        if isinstance(value, tuple):
            held = ()
            for array in value:
                held += (ops.depend(array, ticket),)
            later[name] = held
        else:
            later[name] = ops.depend(value, ticket)
    return later


def rows_of(stages, start: int, end: int):
    """Rows start to end of each of some arrays."""
    cut = ()
    for stage in stages:
        cut += (stage[start:end],)
    return cut


def _places(terms, *groups):
    """For each term the index of its loss, and those of its logs, in the vector [losses + logs] of its group."""
    loss_place, log_places = {}, {}
    for group in groups:
        end = len(group)
        for index, term in enumerate(group):
            loss_place[term.name] = index
            log_places[term.name] = tuple(range(end, end + len(term.logs)))
            end += len(term.logs)
    return tuple(loss_place[term.name] for term in terms), tuple(log_places[term.name] for term in terms)
