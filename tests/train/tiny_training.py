"""A training step small enough for tests, and a worker that runs it under `msrun` (see test_distributed.py)."""

import dataclasses
import sys

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from lightclip_ms.config.schema import LossConfig, ModelConfig, TrainConfig
from lightclip_ms.data.batch import CAPTIONS, LIGHTCLIP_PARTS, PARTS
from lightclip_ms.data.batch import step_inputs as batch_inputs
from lightclip_ms.data.packing import pack_groups
from lightclip_ms.model import factory
from lightclip_ms.model.weights import cell_arrays, load_cell
from lightclip_ms.runtime import backend, parallel
from lightclip_ms.train.accumulate import AccumulatedStep
from lightclip_ms.train.objective import Objective
from lightclip_ms.train.step import TrainStep
from lightclip_ms.train.sync_batch_norm import synchronize_batch_norm
from lightclip_ms.train.update import UPDATE_METRICS

PAIRS = 8  # of all cards together
STEPS = 5
VIEWS_PARTS = (*LIGHTCLIP_PARTS, "image_2", "image_3", "text_2")
QUEUE = 11  # empty before the first step, 8 of 11 filled before the second, full and wrapped around before the third
MODEL = ModelConfig(  # without batch norm: its statistics would be those of one card
    image_encoder="swin_nano",
    image_size=64,
    image_options={"embed": 8, "depths": [1, 1, 1, 1], "heads": [1, 1, 2, 2], "window": 4},
    embed_dim=16,
    context_length=10,
    vocab_size=600,
    text_width=16,
    text_heads=2,
    text_layers=4,
)
METRICS = (  # of the default objective
    *("loss", "instance", "token", "mlm", "target_entropy", "token_collapse", "mlm_left_out", "stop"),
    *UPDATE_METRICS,
)
METHODS_LOSS = LossConfig(  # all terms of other methods, and LightCLIP's own in their other forms, in one graph
    instance_weight=0.3,
    token_weight=0.1,
    matching="best_patch",
    mlm_weight=0.1,
    fused_stages=(1, 4),
    filip_weight=0.2,
    siglip_weight=0.02,
    simclr_weight=0.2,
    simclr_hidden=12,
    simclr_width=6,
    simsiam_weight=0.2,
    simsiam_width=8,
    simsiam_hidden=4,
    multi_view_weight=0.2,
    neighbour_weight=0.2,
    queue_size=QUEUE,
)
# Adam divides by the root of the second moment: with a tiny eps it would turn rounding errors of gradients that are
# zero in exact arithmetic (key biases) into whole steps.
TRAIN = TrainConfig(lr=1e-2, eps=1e-2, batch_size=PAIRS, amp_level="O0")


def own_pairs(rank: int, world_size: int) -> slice:
    """A rank's share of the pairs of all."""
    return slice(rank * PAIRS // world_size, (rank + 1) * PAIRS // world_size)


def make_batch(seed: int) -> tuple[np.ndarray, ...]:
    """The parts of a batch, for PAIRS texts of 0 to 7 words."""
    rng = np.random.default_rng(seed)
    length, slots, vocab = MODEL.context_length, 2, MODEL.vocab_size
    text = np.zeros((PAIRS, length), np.int32)
    weights = np.zeros((PAIRS, slots), np.float32)
    positions = np.zeros((PAIRS, slots), np.int32)
    for row, words in enumerate([7, 1, 3, 6, 0, 2, 1, 0]):  # the halves differ in words, masks and empty texts
        text[row, 0], text[row, words + 1] = vocab - 2, vocab - 1
        text[row, 1 : words + 1] = rng.integers(0, vocab - 2, words)
        count = min(words, 1 + words // 5)
        weights[row, :count] = 1
        positions[row, :count] = rng.permutation(words)[:count] + 1
    masked = text.copy()
    for row in range(PAIRS):
        masked[row, positions[row][weights[row] > 0]] = vocab
    labels = np.take_along_axis(text, positions, 1) * (weights > 0)
    pixels = rng.integers(0, 256, (PAIRS, MODEL.image_size, MODEL.image_size, 3)).astype(np.uint8)
    return pixels, text, masked, positions, labels.astype(np.int32), weights


def step_inputs(seed: int = 0, phase: int = 0, lr: float = TRAIN.lr, stop: float = 0.0, rows: slice = slice(None)):
    """What a step takes: label phase, learning rate, stop request, and the batch of `make_batch` (its `rows`)."""
    arrays = tuple(Tensor(array[rows]) for array in make_batch(seed))
    return Tensor(phase, ms.int32), Tensor(lr, ms.float32), Tensor(stop, ms.float32), *arrays


def packed_inputs(seed: int = 0, rows: int = 6, groups: int = 1, pairs: slice = slice(None), phase: int = 0):
    """`step_inputs` with packed captions."""
    batch = {name: array[pairs] for name, array in zip(LIGHTCLIP_PARTS, make_batch(seed))}
    return *step_inputs(phase=phase)[:3], *_packed(batch, rows, groups)


def packed_views_inputs(seed: int = 0, rows: int = 18, groups: int = 1):
    """`views_inputs` with packed captions."""
    return *step_inputs()[:3], *_packed(make_views_batch(seed), rows, groups)


def _packed(batch: dict[str, np.ndarray], rows: int, groups: int) -> tuple[Tensor, ...]:
    captions = [batch[name] for name in CAPTIONS if name in batch]
    parts = tuple(name for name in PARTS if name in batch)
    batch = batch | pack_groups(captions, MODEL.vocab_size - 1, rows, groups)
    return tuple(Tensor(batch[name]) for name in batch_inputs(parts, True))


def views_inputs(seed: int = 0, rows: slice = slice(None)):
    """`step_inputs` with two further views of each picture and one of each caption, as `METHODS_LOSS` needs them."""
    batch = make_views_batch(seed)
    scalars = step_inputs(seed, rows=rows)[:3]
    return *scalars, *(Tensor(batch[name][rows]) for name in VIEWS_PARTS)


def make_views_batch(seed: int) -> dict[str, np.ndarray]:
    """`make_batch` by name, and further views: other pictures, and captions of which one has another word."""
    batch = dict(zip(LIGHTCLIP_PARTS, make_batch(seed)))
    rng = np.random.default_rng(seed + 100)
    views = rng.integers(0, 256, (2, *batch["image"].shape)).astype(np.uint8)
    text = batch["text"].copy()
    text[0, 3] = rng.integers(0, MODEL.vocab_size - 2)
    return {**batch, "image_2": views[0], "image_3": views[1], "text_2": text}


def run_methods(rank: int, world_size: int) -> dict[str, np.ndarray]:
    """Three steps with `METHODS_LOSS`: metrics and parameters, `methods/...`."""
    step = build_step(rank, world_size, METHODS_LOSS)
    share = own_pairs(rank, world_size)
    metrics = np.stack([step(*views_inputs(seed, share)).asnumpy() for seed in range(3)])
    return {"methods/metrics": metrics, **cell_arrays(step.objective, "methods/parameters")}


def build_step(
    rank: int, world_size: int, loss: LossConfig = LossConfig(), train: TrainConfig = TRAIN, packed: bool = False
) -> TrainStep:
    """The step of the tiny model with weights that depend on nothing but this file."""
    ms.set_seed(1)
    step = TrainStep(Objective(factory.create_model(MODEL), loss, rank, world_size, packed), train, world_size)
    rng = np.random.default_rng(2)
    for parameter in step.update.parameters:
        if parameter.ndim > 1:
            parameter.set_data(Tensor(0.2 * rng.standard_normal(parameter.shape), ms.float32))
    return step


def run_batch_norm(rank: int, world_size: int) -> dict[str, np.ndarray]:
    """STEPS updates of a convolution with a synchronised norm: outputs of all cards' rows, and parameters."""
    layers = nn.SequentialCell([nn.Conv2d(3, 5, 3, weight_init="ones"), nn.BatchNorm2d(5)])
    rng = np.random.default_rng(3)
    layers[0].weight.set_data(Tensor(rng.standard_normal(layers[0].weight.shape), ms.float32))
    synchronize_batch_norm(layers, rank, world_size)
    reduce = parallel.make_grad_reducer(ms.ParameterTuple(layers.trainable_params()), world_size)
    optimizer = nn.SGD(layers.trainable_params(), 0.1)
    share = own_pairs(rank, world_size)
    images, wanted = (rng.standard_normal((STEPS, PAIRS, channels, 6, 6)).astype(np.float32) for channels in (3, 5))
    images *= 1 + np.arange(PAIRS, dtype=np.float32)[:, None, None, None]  # cards with different statistics

    def loss(image, target):
        return ((layers(image) - target) ** 2).mean()

    grad = ms.value_and_grad(loss, None, optimizer.parameters)
    layers.set_train()
    losses = []
    for step in range(STEPS):
        value, gradients = grad(Tensor(images[step, share]), Tensor(wanted[step, share]))
        optimizer(reduce(gradients))
        losses.append(value.asnumpy())
    trained = layers(Tensor(images[0, share])).asnumpy()
    evaluated = layers.set_train(False)(Tensor(images[0, share])).asnumpy()
    parameters = {f"norm/{name}": parameter.asnumpy() for name, parameter in layers.parameters_and_names()}
    return {
        "norm_rows/trained": trained,
        "norm_rows/evaluated": evaluated,
        "norm_losses": np.array(losses),
        **parameters,
    }


OFF_CENTRE = {"100_1": (100.0, 1.0), "100_0.01": (100.0, 0.01)}  # mean and deviation of a channel


def off_centre_images(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Input of a norm [PAIRS, 5, 6, 6] for an entry of `OFF_CENTRE`, and the gradient of its output."""
    rng = np.random.default_rng(4)
    mean, deviation = OFF_CENTRE[name]
    images, gradient = rng.standard_normal((2, PAIRS, 5, 6, 6)).astype(np.float32)
    return mean + deviation * images, gradient


def run_off_centre_norm(rank: int, world_size: int) -> dict[str, np.ndarray]:
    """Outputs of a synchronised norm for `OFF_CENTRE`, and its gradients."""
    share = own_pairs(rank, world_size)
    results = {}
    for name in OFF_CENTRE:
        layers = nn.SequentialCell([nn.BatchNorm2d(5)])
        synchronize_batch_norm(layers, rank, world_size)
        layers.set_train()
        images, gradient = (Tensor(array[share]) for array in off_centre_images(name))
        results[f"off_centre/{name}"] = layers(images).asnumpy()
        results[f"off_centre_gradient/{name}"] = ops.GradOperation(sens_param=True)(layers)(images, gradient).asnumpy()
    return results


def run_phases(rank: int, world_size: int) -> dict[str, np.ndarray]:
    """STEPS steps in each label phase from the same start: metrics and parameters, `phase/...`."""
    step = build_step(rank, world_size)
    start = cell_arrays(step, "step")
    share = own_pairs(rank, world_size)
    results = {}
    for phase in range(3):
        load_cell(step, "step", start, "start")
        metrics = [step(*step_inputs(seed, phase, rows=share)).asnumpy() for seed in range(STEPS)]
        results[f"{phase}/metrics"] = np.stack(metrics)
        results |= {f"{phase}/{name}": array for name, array in cell_arrays(step.objective, "parameters").items()}
    return results


def run_accumulated(rank: int, world_size: int) -> dict[str, np.ndarray]:
    """Phase 0 of `run_phases` in two parts, captions packed into 2 rows, which are enough on one of two cards only."""
    plain = build_step(rank, world_size)
    train = dataclasses.replace(TRAIN, batch_size=PAIRS // world_size, accumulate=2)
    step = AccumulatedStep(build_step(rank, world_size, packed=True).objective, train, world_size)
    load_cell(step.objective, "same", cell_arrays(plain.objective, "same"), "start")
    share = own_pairs(rank, world_size)
    for rows in (PAIRS, 2):  # on each card before the first step, as training compiles both graphs
        step.compile(*packed_inputs(0, rows, 2, share))
    metrics = np.stack([step(*packed_inputs(seed, 2, 2, share)).asnumpy() for seed in range(STEPS)])
    return {"accumulated/metrics": metrics, **cell_arrays(step.objective, "accumulated/parameters")}


def run_copy(rank: int, world_size: int) -> dict[str, np.ndarray]:
    """Two parameters that differ on every card, after `copy_from_first`."""
    shapes = {"copied/matrix": (2, 3), "copied/vector": (4,)}
    parameters = [
        ms.Parameter(Tensor(np.full(shape, rank + index, np.float32)), name)
        for index, (name, shape) in enumerate(shapes.items(), 1)
    ]
    parallel.copy_from_first(parameters, world_size)
    return {parameter.name: parameter.asnumpy() for parameter in parameters}


def main(out: str) -> None:
    """Worker: write `OUT/rank_R.npz`."""
    backend.prepare_device("cpu")
    rank, world_size = parallel.init()
    np.savez(
        f"{out}/rank_{rank}.npz",
        **run_phases(rank, world_size),
        **run_methods(rank, world_size),
        **run_batch_norm(rank, world_size),
        **run_off_centre_norm(rank, world_size),
        **run_copy(rank, world_size),
        **(run_accumulated(rank, world_size) if world_size > 1 else {}),
    )


if __name__ == "__main__":
    main(sys.argv[1])
