"""The evaluation scripts as users start them, on a small untrained checkpoint and small demo data."""

import dataclasses
import json
import os
import runpy
import shutil
import subprocess
import sys

import mindspore as ms
import numpy as np
import pytest
from PIL import Image

from lightclip_ms.config.schema import ModelConfig
from lightclip_ms.model.factory import create_model
from lightclip_ms.model.weights import TOKEN_PROJECTION, cell_arrays, write_checkpoint
from lightclip_ms.runtime.launch import free_port
from tests import ROOT
from tests.demo.demo_folder import SETTINGS, demo_folder
from tests.eval import official_layouts

SCRIPTS = ROOT / "scripts"
MODEL = ModelConfig(
    "lightclip_resnet18",
    "resnet18",
    image_size=64,
    image_options={"width": 8, "depths": (1, 1, 1, 1), "last_stride": 1},
    embed_dim=16,
    context_length=24,
    vocab_size=2048,
    text_width=16,
    text_heads=1,
    text_layers=4,
)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A run's folder `run`, demo data `data`, and a cache of its own."""
    root = tmp_path_factory.mktemp("scripts")
    (root / "data").symlink_to(demo_folder())
    ms.set_seed(1)  # of an unlucky start the embedding of an even picture is too small to be scaled to length 1
    model = create_model(MODEL)
    arrays = cell_arrays(model, "model")
    arrays[TOKEN_PROJECTION] = np.random.default_rng(0).normal(size=(16, 64)).astype(np.float32)
    (root / "run" / "checkpoints").mkdir(parents=True)
    header = {"config": {"model": dataclasses.asdict(MODEL)}}
    write_checkpoint(root / "run" / "checkpoints" / "step_000000001.safetensors", arrays, header)
    (root / "run" / "a.png").write_bytes(b"no picture")
    (root / "run" / "metrics.jsonl").write_text(
        '{"step": 1, "epoch": 0, "loss": 2.0}\n{"step": 2, "epoch": 0, "loss": 1.0}\n'
    )
    return root


@pytest.fixture
def start(work, monkeypatch, capsys):
    """Run a script in this process; returns what it printed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "cache"))

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_retrieval_is_the_same_on_two_workers(work, start):
    output = work / "alone.json"
    arguments = ["--checkpoint", work / "run", "--data", work / "data" / "val.tar", "--batch-size", 16, "--json"]
    printed = start("eval_retrieval.py", *arguments, output)
    alone = json.loads(output.read_text())
    assert (
        f"R@5 {alone['image_to_text_R@5']:.2f} %" in printed
        and alone["images"] == alone["captions"] == SETTINGS.retrieval
    )
    assert (
        alone["chance_R@5"] == 500 / SETTINGS.retrieval
        and len(alone["checkpoint_sha256"]) == 64
        and alone["model"] == "lightclip_resnet18"
    )

    environ = {
        **os.environ,
        "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"],
        "PYTHONPATH": str(SCRIPTS.parent),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [
            shutil.which("msrun", path=environ["PATH"]),
            "--worker_num=2",
            "--local_worker_num=2",
            "--join=True",
            f"--master_port={free_port()}",
            f"--log_dir={work / 'logs'}",
            str(SCRIPTS / "eval_retrieval.py"),
            *map(str, arguments),
            str(work / "both.json"),
        ],
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, "\n".join(path.read_text()[-3000:] for path in (work / "logs").glob("worker_*.log"))
    both = json.loads((work / "both.json").read_text())
    varying = {"images_per_second", "texts_per_second", "command", "date", "versions"}
    assert {key: both[key] for key in both.keys() - varying} == {key: alone[key] for key in alone.keys() - varying}


def test_demo_report(work, start):
    printed = start("demo_report.py", "--run", work / "run", "--data", work / "data", "--batch-size", 64)
    assert "image to text, new pictures of known emojis" in printed and "(1.7 %)" in printed  # R@1 of 60 by chance
    report = json.loads((work / "run" / "report.json").read_text())["results"]
    assert set(report) == {"val", "unseen", "names", "unseen_names", "unseen_described", "compounds", "colours"}
    assert report["colours"]["chance_top1"] == 10.0
    assert f"{report['unseen_names']['top1']:.1f} % ({report['unseen_names']['chance_top1']:.1f} %)" in printed
    for name in ("loss_curves.png", "retrieved_examples.png"):
        assert Image.open(work / "run" / name).width > 300


def test_zeroshot(work, start):
    data, output = work / "data", work / "new folder" / "zeroshot.json"
    arguments = [
        "--checkpoint",
        work / "run",
        "--data",
        data / "colours.tar",
        "--classnames",
        data / "colours.txt",
        "--templates",
        data / "colours_templates.txt",
        "--json",
        output,
    ]
    shutil.rmtree(work / "cache", ignore_errors=True)
    printed = start("eval_zeroshot.py", *arguments)
    result = json.loads(output.read_text())
    assert f"top-1 {result['top1']:.2f} %" in printed and result["images"] == 500 and result["templates"] == 16
    assert f"{result['images_per_second']} images/s, {result['texts_per_second']} texts/s" in printed
    classes = (data / "colours.txt").read_text().split("\n")[:10]
    assert result["class_names"] == [[str(label), name] for label, name in enumerate(classes)]
    assert f"10 classes: 0 = {classes[0]}, 1 = {classes[1]}, 2 = {classes[2]}, ..., 9 = {classes[9]}\n" in printed
    assert result["left_out"] == result["mended"] == {}
    again = start("eval_zeroshot.py", *arguments)
    assert "texts from the cache" in again and again.split("(chance")[0] == printed.split("(chance")[0]


def test_probes(work, start):
    output = work / "probe.json"
    arguments = ["--checkpoint", work / "run", "--train", work / "data" / "colours.tar", "--json", output]
    printed = start("eval_probe.py", *arguments).splitlines()
    report = json.loads(output.read_text())
    assert [line.split(" (")[0] for line in printed] == ["k nearest neighbours", "linear probe"]
    for line, name in zip(printed, ("knn", "linear")):
        result = report[name]
        assert f"top-1 {result['top1']:.2f} %" in line and "100 images, 400 to train, 10 classes" in line
        assert result["top1"] > 3 * result["chance_top1"]  # untrained networks see colours too
    assert len(report["checkpoint_sha256"]) == 64 and "eval_probe.py" in report["command"]


def test_the_papers_tables(work, start):
    official_layouts.cifar10(work / "sets")
    official_layouts.flickr30k(work / "sets")
    printed = start(
        "eval_all.py",
        "--checkpoint",
        work / "run",
        "--data-root",
        work / "sets",
        "--out",
        work / "report",
        "--sets",
        "cifar10",
        "flickr30k",
        "coco",
        "--batch-size",
        16,
    )
    assert printed.strip() == (work / "report" / "report.md").read_text().strip()
    assert "| LightCLIP (paper) | 35.0 |" in printed and "coco: put dataset_coco.json" in printed
    assert "- cifar10: 10 classes: airplane = airplane, " in printed
    report = json.loads((work / "report" / "report.json").read_text())
    ours = report["tables"][1]["rows"][-1]
    assert ours[0] == "this checkpoint" and ours[1][1] == report["results"]["cifar10"]["top1"] and ours[1][0] is None
    assert report["results"]["flickr30k"]["captions"] == 15 and "eval_all.py" in report["command"]
    assert (
        (work / "report" / "report.csv").read_text().startswith("table,method,column,value\n1,CLIP (paper),Top-1,30.8")
    )


def test_pictures_and_predictions(work, start):
    pictures = work / "pictures"
    pictures.mkdir()
    for number, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (90, 70), colour).save(pictures / f"{number}.png")
    os.mkfifo(pictures / "pipe.png")  # passed over
    common = ("--checkpoint", work / "run", "--batch-size", 4)
    printed = start(
        "predict.py",
        *common,
        pictures,
        "--texts",
        "a cat",
        "a dog",
        "--json",
        "--embeddings",
        work / "e.npy",
        "--retrieve",
        "something red",
        "--out",
        work / "found.png",
        "--count",
        2,
    )
    probabilities = json.loads(printed.splitlines()[0])
    assert len(probabilities) == 3 and all(sum(row.values()) == pytest.approx(1) for row in probabilities.values())
    embeddings = np.load(work / "e.npy")
    assert embeddings.shape == (3, 16) and np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    names = work / "data" / "colours.txt"
    printed = start("predict.py", *common, pictures / "0.png", "--classnames", names, "--count", 3)
    assert len(printed.splitlines()) == 4 and printed.startswith(f"{pictures}/0.png\n")
    start(
        "gradcam.py",
        "--checkpoint",
        work / "run",
        work / "run",
        "--label",
        "one",
        "two",
        "--image",
        pictures / "0.png",
        pictures / "1.png",
        "--text",
        "a cat",
        "a dog",
        "--word",
        "cat",
        "dog",
        "--out",
        work / "gradcam.png",
    )
    printed = start(
        "match_words.py",
        "--checkpoint",
        work / "run",
        "--image",
        pictures / "0.png",
        "--text",
        "the star on the car",
        "--out",
        work / "match.png",
    )
    assert printed.splitlines()[0] == "run (trained token projection)"
    assert [line.split()[0] for line in printed.splitlines()[1:6]] == ["the", "star", "on", "the", "car"]
    printed = start(
        "tsne.py",
        "--checkpoint",
        work / "run",
        "--data",
        work / "data" / "colours.tar",
        "--classnames",
        work / "data" / "colours.txt",
        "--images",
        100,
        "--perplexity",
        5,
        "--out",
        work / "tsne.png",
    )
    assert "silhouette" in printed and "(100 images)" in printed
    for name in ("found", "gradcam", "match", "tsne"):
        assert Image.open(work / f"{name}.png").width > 200


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            ["eval_retrieval.py", "--checkpoint", "nowhere.safetensors", "--data", "{data}/val.tar"],
            "nowhere.safetensors: no such",
        ),
        (["eval_zeroshot.py", "--checkpoint", "{run}", "--data", "{data}/names.tar"], "give --classnames"),
        (["eval_probe.py", "--checkpoint", "{run}", "--set", "dtd", "--train", "{data}"], "give either --set and"),
        (
            ["eval_probe.py", "--checkpoint", "{run}", "--set", "dtd", "--data-root", "{data}"],
            "dtd is not there; put dtd-r1.0.1.tar.gz",
        ),
        (
            ["eval_zeroshot.py", "--checkpoint", "{run}", "--data", "{data}/names.txt", "--classnames", "cifar10"],
            "names.txt: not an",
        ),
        (
            ["eval_all.py", "--checkpoint", "{run}", "--data-root", "{data}", "--out", "{data}/out"],
            "none of the data sets",
        ),
        (
            [
                "eval_all.py",
                "--checkpoint",
                "{run}",
                "--data-root",
                "{data}",
                "--out",
                "{data}/out",
                "--templates",
                "dtd",
            ],
            "SET=FILE, got",
        ),
        (
            ["gradcam.py", "--checkpoint", "{run}", "--image", "{run}/a.png", "--text", "a", "b", "--out", "x.png"],
            "--text: 2 given, 1",
        ),
        (
            ["gradcam.py", "--checkpoint", "{run}", "--image", "{run}/a.png", "--text", "a", "--out", "x.png"],
            "a.png: undecodable image",
        ),
        (
            ["match_words.py", "--checkpoint", "{run}", "--image", "{run}/a.png", "--text", " ", "--out", "x.png"],
            "empty text",
        ),
        (["predict.py", "--checkpoint", "{run}", "{data}/val.tar"], "nothing to do"),
        (["predict.py", "--checkpoint", "{run}", "{run}", "--retrieve", ""], "empty text"),
        (["demo_report.py", "--run", "{data}", "--data", "{data}"], "metrics.jsonl: no such file"),
    ],
)
def test_mistakes_end_in_one_line(work, start, capsys, arguments, words):
    arguments = [argument.format(data=work / "data", run=work / "run") for argument in arguments]
    with pytest.raises(SystemExit) as stopped:
        start(*arguments)
    message = capsys.readouterr().err
    assert stopped.value.code == 2 and words in message and message.startswith("error: ") and message.count("\n") == 1
