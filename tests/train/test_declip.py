"""DeCLIP's terms against float64 formulas over several steps, and the queue of its nearest neighbours."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lightclip_ms.config.file import load_config
from lightclip_ms.config.schema import LossConfig
from lightclip_ms.model import factory
from lightclip_ms.train.objective import ordered_parts
from lightclip_ms.train.terms.feature_queue import FeatureQueue
from lightclip_ms.train.terms.term import make_terms
from tests.losses import method_oracles, oracles
from tests.train.tiny_training import MODEL

PAIRS, QUEUE, SCALE = 4, 6, 5.0
LOSS = LossConfig(
    token_weight=0.0,
    mlm_weight=0.0,
    simsiam_weight=0.2,
    simsiam_width=8,
    simsiam_hidden=4,
    multi_view_weight=0.2,
    neighbour_weight=0.2,
    queue_size=QUEUE,
)
FEATURES = ("image", "text", "image_2", "text_2")


@pytest.fixture(scope="module")
def terms():
    return {term.name: term for term in make_terms(factory.create_model(MODEL), LOSS)}


def make_features(seed):
    arrays = np.random.default_rng(seed).normal(size=(len(FEATURES), PAIRS, MODEL.embed_dim)).astype(np.float32)
    return dict(zip(FEATURES, arrays))


def run(term, arrays):
    features = {name: Tensor(array) for name, array in arrays.items()}
    features["logit_scale"] = Tensor([SCALE], ms.float32)
    own = term.local(features, {})
    loss, logs = term(own, own, features, {})
    return float(loss.asnumpy()), [float(log.asnumpy()) for log in logs]


def contrast(image, text):
    """The contrastive loss with hard labels of PAIRS pairs."""
    image, text = image.astype(np.float64), text.astype(np.float64)
    return oracles.instance_loss(image, text, SCALE, image, text, [np.eye(PAIRS)] * 2)


def test_multi_view_supervision_is_the_three_other_pairings(terms):
    views = make_features(0)
    pairings = (("image", "text_2"), ("image_2", "text"), ("image_2", "text_2"))
    expected = np.mean([contrast(views[image], views[text]) for image, text in pairings])
    assert run(terms["multi_view"], views)[0] == pytest.approx(expected, rel=1e-5)


def test_neighbours_come_from_earlier_batches_through_empty_half_full_and_full_queues(terms):
    earlier = []
    for step in range(4):
        views = make_features(step)
        loss, (cosine,) = run(terms["neighbour"], views)
        newest = np.array(earlier[-QUEUE:])
        text = views["text"].astype(np.float64)
        if not earlier:
            found = np.zeros_like(text)
        else:
            found = newest[method_oracles.nearest_neighbours(text, newest, len(newest))].astype(np.float64)
        expected = np.mean([contrast(views[image], found) for image in ("image", "image_2")])
        assert loss == pytest.approx(expected, rel=1e-5)
        assert cosine == pytest.approx(np.mean((oracles.unit(text) * oracles.unit(found)).sum(1)), abs=1e-6)
        if not earlier:
            assert loss == pytest.approx(np.log(PAIRS), rel=1e-6) and cosine == 0
        earlier += list(views["text"])


def test_simsiam_compares_predictions_with_projections_both_ways(terms):
    term, views = terms["simsiam"], make_features(5)
    term.set_train()
    projected = [term.projector(Tensor(views[name])) for name in ("image", "image_2")]
    assert np.abs(projected[0].asnumpy().mean(0)).max() < 1e-5  # the last layer is normalised
    predicted = [term.predictor(rows).asnumpy().astype(np.float64) for rows in projected]
    projected = [rows.asnumpy().astype(np.float64) for rows in projected]
    expected = np.mean([method_oracles.simsiam_loss(predicted[view], projected[1 - view]) for view in (0, 1)])
    assert run(term, views)[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("size", [1, 5, 8, 20])
def test_the_queue_holds_the_newest_features_first_in_first_out(size):
    queue, put = FeatureQueue(size, 1), []
    for batch in range(7):
        rows = np.arange(4.0 * batch, 4.0 * batch + 4).reshape(4, 1).astype(np.float32)
        queue(Tensor(rows))
        put += rows[:, 0].tolist()
        held, filled = queue.rows.asnumpy()[:, 0], int(queue.filled.asnumpy()[0])
        assert filled == min(size, len(put)) and sorted(held[:filled]) == put[-size:]
        if len(put) >= size:  # the next feature replaces the oldest
            assert held[int(queue.next.asnumpy()[0])] == put[-size]


def test_the_method_is_the_papers_sum():
    loss = load_config("demo", ["method=declip"]).loss
    weights = {name: value for name, value in vars(loss).items() if name.endswith("_weight") and value > 0}
    assert weights == {
        "instance_weight": 0.4,  # 1 - 3 * 0.2
        "mlm_weight": 0.2,
        "simsiam_weight": 0.2,
        "multi_view_weight": 0.2,
        "neighbour_weight": 0.2,
    }
    assert (loss.labels, loss.mlm_heads, loss.queue_size) == ("hard", "text", 65536)
    assert set(ordered_parts(loss)) >= {"image_2", "text_2", "masked_text"} and "image_3" not in ordered_parts(loss)
    assert load_config("demo", ["loss.queue_size=2048", "method=declip"]).loss.queue_size == 2048
    for size in (0, 10**7):
        with pytest.raises(ValueError, match="loss.queue_size: .* is not possible: use 1 to 9,999,999"):
            load_config("demo", ["method=declip", f"loss.queue_size={size}"])
