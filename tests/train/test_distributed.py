"""Two real workers under msrun against one process with the whole batch."""

import collections
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lightclip_ms.runtime.launch import free_port
from tests import ROOT
from tests.train import tiny_training
from tests.train.tiny_training import METRICS

WORKERS = 2


def msrun(script: Path, *arguments: str, log_dir: Path, workers: int = WORKERS, **variables: str) -> None:
    """Run `script` on `workers` processes with more environment `variables`; fails with the end of their logs."""
    environ = {
        **os.environ,
        "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    done = subprocess.run(
        [
            shutil.which("msrun", path=environ["PATH"]),
            f"--worker_num={workers}",
            f"--local_worker_num={workers}",
            f"--master_port={free_port()}",
            f"--log_dir={log_dir}",
            "--join=True",
            str(script),
            *arguments,
        ],
        env=environ,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, "\n".join(path.read_text()[-3000:] for path in sorted(log_dir.glob("worker_*.log")))


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Folder of what two workers wrote, and of their graphs after MindSpore's fusion of collectives."""
    out = tmp_path_factory.mktemp("workers")
    msrun(
        Path(tiny_training.__file__),
        str(out),
        log_dir=out / "logs",
        MS_DEV_SAVE_GRAPHS="2",
        MS_DEV_SAVE_GRAPHS_PATH=str(out / "graphs"),
        MS_DEV_DUMP_IR_PASSES="all_reduce_fusion",
    )
    return out


@pytest.fixture(scope="module")
def results(out):
    """What one process found, and what each of two workers did."""
    alone = out / "alone"
    alone.mkdir()
    # A process of its own: see second_view.py.
    done = subprocess.run(
        [sys.executable, tiny_training.__file__, str(alone)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(np.load(alone / "rank_0.npz")), [dict(np.load(out / f"rank_{rank}.npz")) for rank in range(WORKERS)]


@pytest.mark.parametrize("phase", range(3))
def test_two_cards_log_the_losses_of_one_card_with_the_whole_batch(results, phase):
    alone, workers = results
    expected = alone[f"{phase}/metrics"]
    assert np.isfinite(expected).all() and len(set(expected[:, METRICS.index("mlm")])) == tiny_training.STEPS
    for worker in workers:
        np.testing.assert_allclose(worker[f"{phase}/metrics"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("phase", range(3))
def test_two_cards_train_the_weights_of_one_card_with_the_whole_batch(results, phase):
    alone, workers = results
    names = [name for name in alone if name.startswith(f"{phase}/parameters")]
    assert len(names) > 50
    for name in names:
        size = np.abs(alone[name]).max()
        for worker in workers:
            assert np.abs(worker[name] - alone[name]).max() <= 1e-5 * max(size, 1e-2), name


def test_two_cards_that_accumulate_train_the_weights_of_one_card(results):
    """Captions are packed on the card whose batch fits, and have a row each on the other one."""
    alone, workers = results
    names = [name for name in alone if name.startswith("0/parameters")]
    assert len(names) > 50
    for worker in workers:
        np.testing.assert_allclose(worker["accumulated/metrics"], alone["0/metrics"], rtol=1e-5, atol=1e-6)
        for name in names:
            found = worker[name.replace("0/", "accumulated/", 1)]
            assert np.abs(found - alone[name]).max() <= 1e-5 * max(np.abs(alone[name]).max(), 1e-2), name


def test_the_terms_of_other_methods_are_exact_over_ranks(results):
    """Gathered tokens and views, the queue of neighbours, and the norms in heads, which see the batch of all ranks."""
    alone, workers = results
    names = [name for name in alone if name.startswith("methods/parameters")]
    assert any("moving_variance" in name for name in names) and any("siglip.bias" in name for name in names)
    queue = "methods/parameters/neighbour.queue.rows"
    np.testing.assert_array_equal(workers[0][queue], workers[1][queue])
    for worker in workers:
        np.testing.assert_allclose(worker["methods/metrics"], alone["methods/metrics"], rtol=1e-4, atol=1e-5)
        for name in names:
            size = max(np.abs(alone[name]).max(), 1e-2)
            assert np.abs(worker[name] - alone[name]).max() <= 1e-4 * size, name


def test_label_phases_train_different_weights(results):
    """Otherwise the comparisons above would not tell the phases apart."""
    alone, _ = results
    name = "parameters/model.text.projection.weight"
    weights = [alone[f"{phase}/{name}"] for phase in range(3)]
    assert np.abs(weights[0] - weights[1]).max() > 1e-4 and np.abs(weights[1] - weights[2]).max() > 1e-4


def test_synchronised_batch_norm_equals_one_card_with_the_whole_batch(results):
    alone, workers = results
    names = [name for name in alone if name.startswith("norm/")]
    assert {name.rsplit(".")[-1] for name in names} == {"weight", "gamma", "beta", "moving_mean", "moving_variance"}
    for name in names:
        for worker in workers:
            np.testing.assert_allclose(worker[name], alone[name], rtol=1e-4, atol=1e-5, err_msg=name)
    for name in ("norm_rows/trained", "norm_rows/evaluated"):
        np.testing.assert_allclose(
            np.concatenate([worker[name] for worker in workers]), alone[name], rtol=1e-4, atol=1e-4
        )
    np.testing.assert_allclose(
        np.mean([worker["norm_losses"] for worker in workers], 0), alone["norm_losses"], rtol=1e-5
    )
    assert np.abs(workers[0]["norm_losses"] - workers[1]["norm_losses"]).max() > 1e-2  # each card saw its own half


@pytest.mark.parametrize("name", tiny_training.OFF_CENTRE)
def test_synchronised_batch_norm_is_exact_where_the_mean_is_large_against_the_deviation(results, name):
    """E[x^2] - mean^2 in float32 would be wrong in the third digit for deviation 1, and negative for 0.01."""
    images, gradient = (array.astype(np.float64) for array in tiny_training.off_centre_images(name))
    axes, root = (0, 2, 3), np.sqrt(images.var((0, 2, 3), keepdims=True) + 1e-5)
    expected = (images - images.mean(axes, keepdims=True)) / root
    expected_gradient = gradient - gradient.mean(axes, keepdims=True)
    expected_gradient = (expected_gradient - expected * (gradient * expected).mean(axes, keepdims=True)) / root
    actual, actual_gradient = (
        np.concatenate([worker[f"{what}/{name}"] for worker in results[1]])
        for what in ("off_centre", "off_centre_gradient")
    )
    tolerance = 1e-5 / tiny_training.OFF_CENTRE[name][1]  # the input itself is rounded to 4e-6
    assert np.abs(actual - expected).max() < tolerance
    assert np.abs(actual_gradient - expected_gradient).max() < tolerance * np.abs(expected_gradient).max()


def test_every_card_gets_the_parameters_of_the_first(results):
    for worker in results[1]:
        np.testing.assert_array_equal(worker["copied/matrix"], np.full((2, 3), 1.0))
        np.testing.assert_array_equal(worker["copied/vector"], np.full(4, 2.0))


def test_a_step_has_five_collectives_after_fusion(out):
    """A gather of both features; sums of its gradient, of the losses' counts, of the gradients, of the metrics."""
    graphs = [
        collections.Counter(
            re.findall(r" = (?:PrimFunc_)?(AllGather|AllReduce|ReduceScatter|Broadcast)\(", path.read_text())
        )
        for path in (out / "graphs/rank_0").rglob("*all_reduce_fusion*.ir")
    ]
    assert {"AllGather": 1, "AllReduce": 4} in [dict(graph) for graph in graphs]  # others are the norms'
