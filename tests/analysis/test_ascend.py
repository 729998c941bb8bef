"""The Ascend check: the real step passes, and graphs with each kind of fault are reported."""

import collections
import dataclasses
import importlib.util
import sys

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from lightclip_ms.analysis import step_graph
from lightclip_ms.analysis.ascend_check import check
from lightclip_ms.analysis.ascend_kernels import Declarations
from lightclip_ms.analysis.graph import Operator, frontend_operators
from lightclip_ms.config.schema import Config, TrainConfig
from tests import ROOT
from tests.train.test_distributed import msrun
from tests.train.tiny_training import MODEL

SCRIPT = ROOT / "scripts" / "check_ascend.py"


@pytest.fixture(scope="module")
def declarations():
    return Declarations()


def test_the_step_in_bfloat16_passes_and_holds_the_plain_operators(declarations):
    """bfloat16 has no CPU kernels: that it compiles shows that no kernel is needed."""
    config = Config(model=MODEL, train=TrainConfig(amp_level="O2", amp_dtype="bfloat16"))
    operators = step_graph.step_operators(config, 3)
    report = check(operators, declarations)
    assert report.violations == []
    counts = collections.Counter(operator.name for operator in operators)
    assert counts["LayerNorm"] == counts["LayerNormGrad"] > 10  # not the forms for the CPU back end
    assert {kind for operator in operators if operator.name == "MatMul" for _, kind in operator.outputs} == {"bfloat16"}
    # 3 pairs, 10 words, 2 x 2 patches: float32 costs and the word mask; the assignment comes back
    assert len(report.transfers) == 1
    assert (
        f"{3 * 10 * 4 * 4 + 3 * 10:,} bytes" in report.transfers[0] and f"{3 * 10 * 4:,} bytes" in report.transfers[0]
    )
    assert dict((row[0], row[3]) for row in report.primitives)["MatMul"].startswith("aclnn")
    missing = check(operators, declarations, matchers=0).violations
    assert len(missing) == 1 and missing[0].startswith("PyFunc: 1 in the graph, 0 expected")


def test_layers_are_built_for_the_cpu_again_afterwards():
    with step_graph.built_for("Ascend"):
        assert ms.get_context("device_target") == ms.context.get_context("device_target") == "Ascend"
        assert ms.get_context("mode") == ms.GRAPH_MODE
    assert ms.get_context("device_target") == "CPU"


class Double(nn.Cell):
    def construct(self, x):
        return x.astype(ms.float64).sum()


class LongIndex(nn.Cell):
    def construct(self, x):
        return x.argmax(-1)  # int64


class UnreadIndex(nn.Cell):
    def construct(self, x):
        return ops.max(x, 1, keepdims=True)[0]


class Matchers(nn.Cell):
    def __init__(self, count):
        super().__init__()
        self.host = [
            ops.PyFunc(lambda array: array, [ms.float32], [(2, 4)], [ms.float32], [(2, 4)]) for _ in range(count)
        ]

    def construct(self, x):
        for host in self.host:
            x = host(x)[0] + 1
        return x


class Bessel(nn.Cell):
    def __init__(self):
        super().__init__()
        self.bessel = ops.BesselI0()

    def construct(self, x):
        return self.bessel(x)


@pytest.mark.parametrize(
    "cell, matchers, expected",
    [
        (Double(), 0, ["Cast: double [2, 4]", "SumExt: double [2, 4]"]),
        (LongIndex(), 0, ["int64 [2]"]),
        (Matchers(2), 1, ["PyFunc: 2 in the graph, 1 expected"]),
        (Matchers(0), 1, ["PyFunc: 0 in the graph, 1 expected"]),
        (Bessel(), 0, ["BesselI0: nothing declares an Ascend kernel"]),
    ],
    ids=["float64", "int64", "two matchers", "no matcher", "no kernel"],
)
def test_faults_are_reported(declarations, cell, matchers, expected):
    violations = check(frontend_operators(cell, Tensor(np.ones((2, 4), np.float32))), declarations, matchers).violations
    assert len(violations) >= len(expected)
    for text in expected:
        assert any(text in line for line in violations), violations


def test_a_dynamic_shape_is_reported(declarations):
    cell = nn.ReLU()
    cell.set_inputs(Tensor(shape=[None, 4], dtype=ms.float32))
    operators = frontend_operators(cell, Tensor(shape=[None, 4], dtype=ms.float32))
    assert [line for line in check(operators, declarations, 0).violations if "ReLU: dynamic shape [-1, 4]" in line]


def test_scalars_of_int64_are_no_violation(declarations):
    scalar = Operator("Add", "Default/Add", (((), "int64"),))
    assert check([scalar], declarations, 0).violations == []
    assert len(check([dataclasses.replace(scalar, outputs=(((1,), "int64"),))], declarations, 0).violations) == 1


def test_an_int64_that_nobody_reads_is_no_violation(declarations):
    operators = frontend_operators(UnreadIndex(), Tensor(np.ones((2, 4), np.float32)))
    assert ((2, 1), "int64") in [output for operator in operators for output in operator.outputs]
    assert check(operators, declarations, 0).violations == []


def test_declarations_name_their_source(declarations):
    assert declarations.evidence("Mul").startswith("aclnn: ")
    assert declarations.evidence("LayerNormGrad").startswith("aclop: ")
    assert declarations.evidence("ReduceScatter").startswith("hccl: ")
    assert declarations.evidence("FillV2").startswith("documented: ")
    assert declarations.evidence("SyncBatchNormGrad").startswith("replaced: ")
    assert declarations.evidence("TupleGetItem") == "none needed"
    assert declarations.evidence("NoSuchOperator") == ""


@pytest.fixture
def script(monkeypatch):
    specification = importlib.util.spec_from_file_location("check_ascend", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)

    def run(*arguments, operators=()):
        monkeypatch.setattr(step_graph, "step_operators", lambda *_: list(operators))
        monkeypatch.setattr(sys, "argv", ["check_ascend.py", *arguments])
        return module.main()

    return run


def test_exit_codes(script, capsys):
    good = [
        Operator("PyFunc", "Default/PyFunc", (((2, 4), "int32"),)),
        Operator("Mul", "Default/Mul", (((2,), "float"),)),
    ]
    assert script("resnet18", "swin_nano", operators=good) == 0
    assert "swin_nano: 2 operators of 2 kinds" in capsys.readouterr().out
    assert script("resnet18", operators=good + good) == 1
    assert "VIOLATION: PyFunc: 2 in the graph" in capsys.readouterr().out
    assert script("resnet18", "loss.token_weight=0", operators=good[1:]) == 0
    with pytest.raises(SystemExit) as left:
        script("no_such_config")
    assert left.value.code == 2 and "no such configuration file" in capsys.readouterr().err


def test_the_step_of_two_cards_gathers_once_and_scatters_once(tmp_path):
    """The step as Ascend gets it: the CPU form of the gather would show no ReduceScatter."""
    msrun(
        SCRIPT,
        "demo",
        "model.vocab_size=600",
        "model.text_width=16",
        "model.text_heads=2",
        "train.sync_batch_norm=true",
        log_dir=tmp_path,
    )
    counts = {}
    for line in (tmp_path / "worker_0.log").read_text().splitlines():
        name, _, rest = line.strip().partition(" ")
        if line.startswith("  ") and rest.split()[0].isdigit():
            counts[name] = int(rest.split()[0])
    assert counts["AllGather"] == counts["ReduceScatter"] == 1
    assert counts["AllReduce"] == counts["AdamW"] + 2  # one of each gradient, which the back end fuses; counts; metrics
    assert counts["SyncBatchNorm"] == counts["SyncBatchNormGrad"] > 10
