"""What the inference benchmark measures and prints; the numbers themselves are a matter of the machine."""

import runpy

from benchmarks.inference import Row
from benchmarks.inference_inputs import make_inputs, tower_inputs
from lightclip_ms.config.schema import ModelConfig
from lightclip_ms.data.tokenizer import check_ids
from tests import ROOT


def test_texts_fill_the_context_or_are_as_short_as_captions():
    config = ModelConfig()
    inputs = make_inputs(config)
    assert check_ids(inputs["text"], 77, 49408) == 77
    assert check_ids(inputs["short text"], 16, 49408) <= 16
    shapes = {task: batch.shape for task, batch in tower_inputs("text", inputs).items()}
    assert shapes == {"text 1": (1, 77), "text 16": (16, 77), "short text 1": (1, 16), "short text 16": (16, 16)}
    assert {task: batch.shape[0] for task, batch in tower_inputs("image", inputs).items()} == {
        "image 1": 1,
        "image 16": 16,
    }


def test_the_table_gives_ratios_to_pytorch():
    table = runpy.run_path(str(ROOT / "scripts" / "bench_inference.py"))["table"]
    rows = [
        Row(
            "onnxruntime.int8",
            1,
            {"image 1": 0.01, "image 16": 0.1},
            {"image 1": 0.03, "image 16": 0.1},
            file_megabytes=2.5,
            difference=0.02,
        ),
        Row("torch", 1, {"image 1": 0.04, "image 16": 0.2}, {"image 1": 0.04, "image 16": 0.2}),
    ]
    lines = table(rows).splitlines()
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells[:7] == ["onnxruntime.int8", "1", "10.0", "100.0", "0.25 (0.75)", "0.50 (0.50)", "160"] and cells[
        -2:
    ] == [
        "2.5",
        "2e-02",
    ]
    assert len({line.count("|") for line in lines}) == 1
    assert lines[3].split("|")[5:7] == [" 1.00 (1.00) ", " 1.00 (1.00) "]
