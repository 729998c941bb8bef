"""The Ascend check: the real step passes, and graphs with each kind of fault are reported."""

import collections
import dataclasses
import importlib.util
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from lightclip_ms.analysis import step_graph
from lightclip_ms.analysis.ascend_check import check
from lightclip_ms.analysis.ascend_kernels import Declarations
from lightclip_ms.analysis.graph import Operator, frontend_operators
from lightclip_ms.analysis.host_calls import find_host_calls, operators_between
from lightclip_ms.config.schema import Config, TrainConfig
from tests import ROOT
from tests.train.test_distributed import msrun
from tests.train.tiny_training import MODEL

SCRIPT = ROOT / "scripts" / "check_ascend.py"


@pytest.fixture(scope="module")
def declarations():
    return Declarations()


@pytest.fixture(scope="module")
def bfloat16_step():
    """Operators of a step with 3 pairs. bfloat16 has no CPU kernels: that it compiles shows that none is needed."""
    model = dataclasses.replace(MODEL, text_width=32)  # heads of 16 channels, which the fused attention takes
    config = Config(model=model, train=TrainConfig(amp_level="O2", amp_dtype="bfloat16"))
    return step_graph.step_operators(config, 3)


def test_the_step_in_bfloat16_passes_and_holds_the_plain_operators(declarations, bfloat16_step):
    operators = bfloat16_step
    report = check(operators, declarations)
    assert report.violations == []
    counts = collections.Counter(operator.name for operator in operators)
    assert counts["LayerNorm"] == counts["LayerNormGrad"] > 10  # not the forms for the CPU back end
    products = collections.Counter(kind for each in operators if each.name == "MatMul" for _, kind in each.outputs)
    # The instance loss is in float32: three products per direction, with their gradients.
    assert products.pop("float") == 6 and set(products) == {"bfloat16"}
    assert counts["FlashAttentionScore"] == counts["FlashAttentionScoreGrad"] == MODEL.text_layers
    # 3 pairs, 10 words, 2 x 2 patches: float32 costs and the word mask; the assignment comes back
    start, fetch, between = report.transfers
    assert f"{3 * 10 * 4 * 4 + 3 * 10:,} bytes" in start and ", 4 bytes (int32 [1]) back" in start
    assert ": 4 bytes (int32 [1]) to the host" in fetch and f"{3 * 10 * 4:,} bytes" in fetch
    assert between.startswith("between start and fetch of the matcher: ")
    assert dict((row[0], row[3]) for row in report.primitives)["MatMul"].startswith("aclnn")
    missing = check(operators, declarations, matchers=0).violations
    assert missing == [f"PyFunc: the matcher {what} 1 times, 0 expected" for what in ("starts", "fetches")]


def test_between_start_and_fetch_the_device_computes_the_other_terms(bfloat16_step):
    calls = find_host_calls(bfloat16_step)
    between = operators_between(bfloat16_step, *calls.starts, *calls.fetches)
    shapes = [operator.outputs[0][0] for operator in between if operator.name.startswith("MatMul")]
    # Logits of the 3 words at most that packed captions of 3 pairs mask here, forward only, and similarities of the
    # instance loss.
    assert [shape for shape in shapes if MODEL.vocab_size in shape] == [(3, MODEL.vocab_size)] * 2
    assert (3, 3) in shapes
    # The towers come before, gradients and updates behind.
    assert not {"Conv2D", "LayerNorm", "LayerNormGrad", "Adam", "AdamW"} & {operator.name for operator in between}


def test_layers_are_built_for_the_cpu_again_afterwards():
    with step_graph.built_for("Ascend"):
        assert ms.get_context("device_target") == ms.context.get_context("device_target") == "Ascend"
        assert ms.get_context("mode") == ms.GRAPH_MODE
    assert ms.get_context("device_target") == "CPU"


class Double(nn.Cell):
    def construct(self, x):
        y = x * 2
        z = y.astype(ms.float64)  # planted: float64
        return (z + 1).sum()


class TimesTwo(nn.Cell):
    def construct(self, x):
        return x * 2


class LongIndex(nn.Cell):
    def construct(self, x):
        return x.argmax(-1) + 1  # planted: int64


class UnreadIndex(nn.Cell):
    def construct(self, x):
        return ops.max(x, 1, keepdims=True)[0]


class HostCall(nn.Cell):
    def __init__(self):
        super().__init__()
        self.host = ops.PyFunc(lambda array: array, [ms.float32], [(2, 4)], [ms.float32], [(2, 4)])

    def construct(self, x):
        return self.host(x)[0] + 1  # planted: host call


class NonZero(nn.Cell):
    def construct(self, x):
        return ops.nonzero(x).astype(ms.int32)  # planted: nonzero


class BooleanIndex(nn.Cell):
    def construct(self, x):
        return x[x > 0] * 2  # planted: boolean index


class Unsupported(nn.Cell):
    def __init__(self):
        super().__init__()
        self.bessel = ops.BesselI0()

    def construct(self, x):
        return self.bessel(x)  # planted: scalar processors


class Determinant(nn.Cell):
    def construct(self, x):
        return ops.MatrixDeterminant()(x[:, :2])  # planted: determinant


def line_of(what: str) -> str:
    """Where a fault was planted, as the check gives it."""
    lines = Path(__file__).read_text().splitlines()
    number = next(number for number, line in enumerate(lines, 1) if line.endswith(f"# planted: {what}"))
    return f"tests/analysis/test_ascend.py:{number}"


@pytest.mark.parametrize(
    "cell, what, message",
    [
        (Double(), "float64", "Cast: double [2, 4], computed outside the cores, "),
        (LongIndex(), "int64", "int64 [2], computed outside the cores"),
        (HostCall(), "host call", "PyFunc: a call of the host that is not the matcher's"),
        (NonZero(), "nonzero", "NonZero: int64 [-1, 2], dynamic shape"),
        (BooleanIndex(), "boolean index", "dynamic shape"),
        (Unsupported(), "scalar processors", "BesselI0: runs on the card's scalar processors"),
        (Determinant(), "determinant", "MatrixDeterminant: runs on the card's scalar processors"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_a_planted_fault_is_reported_with_its_line(script, capsys, cell, what, message):
    """Through the script, as a user sees it."""
    operators = frontend_operators(cell, Tensor(np.ones((2, 4), np.float32)))
    assert script("resnet18", "loss.token_weight=0", "--quiet", operators=operators) == 1
    found = [line for line in capsys.readouterr().out.splitlines() if "VIOLATION" in line and message in line]
    assert len(found) == 1 and line_of(what) in found[0], found


def test_graphs_compiled_after_a_check_leave_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert frontend_operators(TimesTwo(), Tensor(np.ones(2, np.float32)))[0].line
    assert TimesTwo()(Tensor(np.ones(3, np.float32))).asnumpy().tolist() == [2, 2, 2]
    assert list(tmp_path.iterdir()) == []


TICKET, PATCHES = ((1,), "int32"), ((2, 4), "int32")
MATCHER = (
    Operator("PyFunc", "Default/a", (TICKET,), (((2, 4, 3), "float"),), "lightclip_ms/losses/matching.py:9", "a"),
    Operator("Mul", "Default/b", (((2,), "float"),), (TICKET,), "", "b", ("a",)),
    Operator("PyFunc", "Default/c", (PATCHES,), (TICKET,), "lightclip_ms/losses/matching.py:9", "c", ("a", "b")),
)


def test_exactly_one_start_and_one_fetch_with_work_between_them(declarations):
    start, work, fetch = MATCHER
    assert check([start, work, fetch], declarations, 1).violations == []
    none = ["PyFunc: the matcher starts 0 times, 1 expected", "PyFunc: the matcher fetches 0 times, 1 expected"]
    assert check([], declarations, 1).violations == none
    assert check([start, *MATCHER], declarations, 1).violations == ["PyFunc: the matcher starts 2 times, 1 expected"]
    assert check([start, work], declarations, 1).violations == none[1:]
    idle = check([start, dataclasses.replace(fetch, sources=("a",)), work], declarations, 1).violations
    assert idle == ["PyFunc: the device has no work between start and fetch (lightclip_ms/losses/matching.py:9)"]
    whole = dataclasses.replace(start, outputs=(PATCHES,))
    assert "a call of the host that is not the matcher's" in check([whole, *MATCHER], declarations, 1).violations[0]


def test_what_runs_eagerly_is_no_evidence_for_a_graph(declarations):
    eager = Operator("EinsumExt", "Default/EinsumExt-op0", (((2, 4), "float"),), (), "tests/x.py:1")
    unknown = dataclasses.replace(eager, name="NoSuchOperator")
    first, second = check([eager, unknown], declarations, 0).violations
    assert "EinsumExt: has an Ascend kernel for eager mode only" in first and "tests/x.py:1" in first
    assert "NoSuchOperator: nothing declares an Ascend kernel" in second


def test_a_dynamic_shape_is_reported(declarations):
    cell = nn.ReLU()
    cell.set_inputs(Tensor(shape=[None, 4], dtype=ms.float32))
    operators = frontend_operators(cell, Tensor(shape=[None, 4], dtype=ms.float32))
    assert [line for line in check(operators, declarations, 0).violations if "float [-1, 4], dynamic shape" in line]


def test_scalars_of_int64_are_no_violation(declarations):
    scalar = Operator("Add", "Default/Add", (((), "int64"),))
    assert check([scalar], declarations, 0).violations == []
    assert len(check([dataclasses.replace(scalar, outputs=(((1,), "int64"),))], declarations, 0).violations) == 1


def test_an_int64_that_nobody_reads_is_no_violation(declarations):
    operators = frontend_operators(UnreadIndex(), Tensor(np.ones((2, 4), np.float32)))
    assert ((2, 1), "int64") in [output for operator in operators for output in operator.outputs]
    assert check(operators, declarations, 0).violations == []


@pytest.mark.parametrize(
    "primitive, kind",
    [
        ("Mul", "aclnn"),
        ("Abs", "aclnn"),  # named in the library only
        ("BatchMatMul", "aclnn"),  # named by its header only
        ("AdamW", "aclnn"),
        ("FlashAttentionScore", "aclnn"),
        ("LayerNormGrad", "TBE"),
        ("Adam", "TBE"),
        ("MatrixDeterminant", "AICPU"),  # has an adapter, too
        ("FillV2", "AICPU"),
        ("EinsumExt", "eager only"),
        ("ReduceScatter", "hccl"),
        ("SyncBatchNormGrad", "replaced"),
        ("TupleGetItem", "no kernel needed"),
        ("NoSuchOperator", "none"),
    ],
)
def test_the_kind_of_a_kernel(declarations, primitive, kind):
    assert declarations.evidence(primitive).kind == kind


def test_an_installed_cann_is_asked_which_operators_are_on_the_cores(monkeypatch, tmp_path):
    folder = tmp_path / "built-in/op_impl/ai_core/tbe/config/ascend910b"
    folder.mkdir(parents=True)
    (folder / "aic-ascend910b-ops-info.json").write_text('{"MatrixDeterminant": {}}')
    monkeypatch.setenv("ASCEND_OPP_PATH", str(tmp_path))
    assert Declarations().evidence("MatrixDeterminant").kind == "TBE"


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
    good = list(MATCHER)
    assert script("resnet18", "swin_nano", operators=good) == 0
    shown = capsys.readouterr().out
    assert "swin_nano: 3 operators of 2 kinds, 3 with a kernel" in shown
    assert "transfer: between start and fetch of the matcher: 1 operators" in shown
    assert "upload: 303," in shown and "bytes (uint8 [2, 224, 224, 3]" in shown  # a batch with packed captions
    assert script("resnet18", operators=good + good) == 1
    assert "VIOLATION: PyFunc: the matcher starts 2 times, 1 expected" in capsys.readouterr().out
    assert script("resnet18", "loss.token_weight=0", operators=good[1:2]) == 0
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
