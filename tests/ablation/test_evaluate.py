"""Scores of a cell, picture by picture, on towers with known answers."""

import numpy as np
import pytest

from lightclip_ms.ablation import evaluate
from lightclip_ms.eval.embed import Embedder
from lightclip_ms.model.weights import write_checkpoint
from tests.data.data_files import write_tar
from tests.eval.known_towers import COLOURS, ColourTowers, picture


def test_retrieval_scores_are_means_over_pictures(tmp_path):
    samples = {}
    for number, colour in enumerate(COLOURS):
        samples[f"{number}.png"] = picture(colour)
        # the second picture's caption speaks of the third: found neither way at k = 1
        samples[f"{number}.txt"] = f"{list(COLOURS)[2 if number == 1 else number]} thing".encode()
    write_tar(tmp_path / "val.tar", list(samples.items()))
    scores = evaluate.score_retrieval(Embedder(ColourTowers(2), 2), str(tmp_path / "val.tar"))
    assert scores["metric"] == "mean recall" and len(scores["per_picture"]) == 3
    assert np.mean(scores["per_picture"]) == pytest.approx(scores["details"]["mean_recall"])
    assert scores["per_picture"][0] == 100 > scores["per_picture"][1]


class PromptTowers(ColourTowers):
    """Finds the colours in prompts too, where a full stop follows."""

    checksum = None

    def tokenize(self, texts):
        return super().tokenize([text.rstrip(".") for text in texts])


def test_zeroshot_scores_are_hits(tmp_path):
    for colour in COLOURS:
        (tmp_path / colour).mkdir()
        for number in range(2):
            wrong = colour == "red" and number == 1
            (tmp_path / colour / f"{number}.png").write_bytes(picture("blue" if wrong else colour))
    scores = evaluate.score_zeroshot(Embedder(PromptTowers(2), 2), str(tmp_path))
    assert sorted(scores["per_picture"]) == [0.0] + [100.0] * 5
    assert np.mean(scores["per_picture"]) == pytest.approx(scores["details"]["top1"])
    with pytest.raises(FileNotFoundError, match="dtd:.*: that set is not in this folder"):
        evaluate.score_zeroshot(Embedder(ColourTowers(2), 2), f"dtd:{tmp_path}")


def test_costs_count_what_is_trained_and_the_memory_of_the_device(tmp_path):
    arrays = {
        "model/visual.weight": np.zeros((2, 3)),
        "objective/neighbour.queue.rows": np.zeros((100, 3)),
        "objective/simsiam.head.weight": np.zeros((3, 4)),
        "update/optimizer.groups.0.moment1.objective.model.visual.weight": np.zeros((2, 3)),
        "update/optimizer.groups.1.moment1.objective.simsiam.head.weight": np.zeros((3, 4)),
        "update/optimizer.groups.1.moment2.objective.simsiam.head.weight": np.zeros((3, 4)),
    }
    (tmp_path / "checkpoints").mkdir()
    write_checkpoint(tmp_path / "checkpoints" / "step_000000005.safetensors", arrays, {})
    lines = ['{"step": 1}', '{"step": 2, "images_per_second": 9.0, "memory_mb": 100}']
    (tmp_path / "metrics.jsonl").write_text(
        "\n".join([*lines, '{"images_per_second": 8.0, "processor_seconds": 2.5, "memory_mb": 90}'])
    )
    assert evaluate.costs(tmp_path) == {
        "parameters": 6,
        "training_parameters": 18,
        "images_per_second": 8.0,
        "processor_seconds": 2.5,
        "memory_mb": 100,
    }
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('\n{"images_per_second": 8.0, "memory_mb": 120, "device_memory_mb": 3000}')
    assert evaluate.costs(tmp_path)["memory_mb"] == 3000
