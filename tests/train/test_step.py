"""The compiled step: what its graph holds, and what an update does."""

import collections
import math

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from lightclip_ms.analysis.graph import HOST_OPERATORS, compiled_operators
from lightclip_ms.analysis.host_calls import find_host_calls, operators_between
from lightclip_ms.config.schema import LossConfig
from lightclip_ms.train.adamw import is_decayed
from lightclip_ms.train.update import MAX_LOGIT_SCALE
from tests.train.tiny_training import MODEL, PAIRS, build_step, make_batch, step_inputs


@pytest.fixture(scope="module")
def step():
    return build_step(0, 1)


@pytest.fixture(scope="module")
def operators(step):
    return compiled_operators(step, *step_inputs())


def test_the_matcher_is_the_only_host_operator_of_the_training_graph(step, operators):
    names = collections.Counter(operator.name for operator in operators)
    matrices = [parameter for parameter in step.update.parameters if parameter.ndim > 1]
    vectors = len(step.update.parameters) - len(matrices)
    # The whole step was seen: one update for each matrix, for logit_scale, and one for 32 vectors at most.
    assert names["Adam"] == len(matrices) + 1 + math.ceil((vectors - 1) / 32) > 40 and names["MatMul"] > 100
    assert {name: names[name] for name in HOST_OPERATORS if names[name]} == {"PyFunc": 2}


def test_the_other_terms_run_between_start_and_fetch_of_the_matcher(operators):
    """In the graph that the CPU back end executes; tests/analysis has the same for Ascend."""
    calls = find_host_calls(operators)
    between = operators_between(operators, *calls.starts, *calls.fetches)
    shapes = [operator.outputs[0][0] for operator in between if operator.name.startswith("MatMul")]
    assert sum(shape[-1] == MODEL.vocab_size for shape in shapes) == 2  # logits of both heads, forward
    assert (PAIRS, PAIRS) in shapes  # similarities of the instance loss
    assert not {"Conv2D", "Adam"} & {operator.name for operator in between}


def test_no_host_operator_on_the_inference_path(step):
    visual, text = step.objective.model.visual, step.objective.model.text
    images = Tensor(np.zeros((2, 3, MODEL.image_size, MODEL.image_size), np.float32))
    ids = Tensor(make_batch(0)[1])
    for cell, value in ((visual, images), (text, ids)):
        names = {operator.name for operator in compiled_operators(cell, value)}
        assert "MatMul" in names and not names & set(HOST_OPERATORS)


def test_the_training_graph_is_static_and_holds_no_float64(operators):
    outputs = [(operator.name, shape, kind) for operator in operators for shape, kind in operator.outputs]
    assert any(kind == "float" for _, _, kind in outputs)
    assert not [output for output in outputs if min(output[1], default=1) < 0]
    assert not [output for output in outputs if output[2] == "double"]


def test_nothing_random_is_computed_in_the_training_graph(operators):
    """MindSpore's compiled random operators do not repeat, so a run with them could not be continued exactly."""
    words = ("Dropout", "Random", "Uniform", "StandardNormal", "Bernoulli", "Multinomial", "Laplace", "Shuffle")
    names = {operator.name for operator in operators}
    assert not [name for name in names if any(word in name for word in words)]


def test_a_step_updates_every_parameter_once_and_no_phase_recompiles(step):
    before = [parameter.asnumpy().copy() for parameter in step.update.parameters]
    metrics = dict(zip(step.metrics, step(*step_inputs()).asnumpy().tolist()))
    unchanged = [
        parameter.name
        for parameter, old in zip(step.update.parameters, before)
        if np.array_equal(parameter.asnumpy(), old)
    ]
    assert unchanged == []
    assert metrics["loss"] == pytest.approx(
        0.8 * metrics["instance"] + 0.1 * metrics["token"] + 0.1 * metrics["mlm"], rel=1e-5
    )  # Eq. 1
    graphs = len(step.compile_cache)
    for phase in (1, 2):
        step(*step_inputs(phase=phase, stop=1.0))
    assert len(step.compile_cache) == graphs


def test_no_matrix_is_copied(operators):
    """MindSpore copies a parameter (TensorMove) for each read if it is read twice in a step and written afterwards."""
    copied = [shape for operator in operators if operator.name == "TensorMove" for shape, _ in operator.outputs]
    assert copied and not [shape for shape in copied if len(shape) > 1]  # norms of the text tower are what is left


def test_decay_is_for_every_matrix_and_kernel_of_our_own_parts(step):
    wanted = {p.name for p in step.update.parameters if p.ndim > 1 and "bias" not in p.name}
    assert {p.name for p in step.update.parameters if is_decayed(p)} == wanted


def test_logit_scale_is_clamped_as_a_parameter_and_comes_back(step):
    scale = step.objective.model.logit_scale
    scale.set_data(Tensor([MAX_LOGIT_SCALE + 1], ms.float32))
    step(*step_inputs(lr=0.0))
    assert scale.asnumpy()[0] == pytest.approx(MAX_LOGIT_SCALE)
    scale.set_data(Tensor([MAX_LOGIT_SCALE], ms.float32))
    for _ in range(3):  # random pairs at scale 100 have a large loss, so the gradient lowers the scale
        step(*step_inputs())
    assert scale.asnumpy()[0] < MAX_LOGIT_SCALE


def test_a_weight_of_zero_leaves_the_branch_out():
    step = build_step(0, 1, LossConfig(token_weight=0.0, mlm_weight=0.0, instance_weight=1.0))
    operators = {operator.name for operator in compiled_operators(step, *step_inputs())}
    assert "PyFunc" not in operators
    names = [parameter.name for parameter in step.update.parameters]
    assert not [name for name in names if ".mlm." in name or ".token." in name]
    metrics = dict(zip(step.metrics, step(*step_inputs()).asnumpy().tolist()))
    assert metrics["loss"] == metrics["instance"] and "token" not in metrics and "mlm" not in metrics
