"""The whole evaluation: retrieval sets in their official layouts, tables, and what is absent."""

import json

import numpy as np
import pytest

from lightclip_ms.eval import suite, tables
from lightclip_ms.eval.embed import Embedder
from lightclip_ms.eval.sets import retrieval as retrieval_sets
from lightclip_ms.eval.sets.retrieval import open_captions_json
from tests.eval import official_layouts
from tests.eval.known_towers import ColourTowers


def test_karpathy_split(tmp_path):
    official_layouts.flickr30k(tmp_path)
    dataset = retrieval_sets.open_set("flickr30k", retrieval_sets.locate("flickr30k", str(tmp_path)))
    assert [dataset.key(i).rsplit("/", 1)[1] for i in range(3)] == ["1.jpg", "3.jpg", "5.jpg"]
    assert dataset.image_of_caption.tolist() == np.repeat(range(3), 5).tolist()
    assert dataset.captions[5] == "caption 3 0"


def test_karpathy_split_of_coco_has_folders(tmp_path):
    official_layouts.jpeg(tmp_path / "coco/val2014/a.jpg", 1)
    (tmp_path / "coco/dataset_coco.json").write_text(
        json.dumps(
            {
                "images": [
                    {"filepath": "val2014", "filename": "a.jpg", "split": "test", "sentences": [{"raw": "one"}]},
                    {"filepath": "train2014", "filename": "b.jpg", "split": "restval", "sentences": [{"raw": "two"}]},
                ]
            }
        )
    )
    dataset = retrieval_sets.open_set("coco", retrieval_sets.locate("coco", str(tmp_path)))
    assert dataset.captions == ["one"] and dataset.key(0).endswith("coco/val2014/a.jpg")


def test_coco_annotations(tmp_path):
    official_layouts.coco(tmp_path)
    dataset = retrieval_sets.open_set("coco", retrieval_sets.locate("coco", str(tmp_path)))
    assert len(dataset) == 3 and len(dataset.captions) == 15  # the sixth caption of each is left out
    assert dataset.captions[:5] == [f"caption 0 {which}" for which in range(5)]  # in the file's order


@pytest.mark.parametrize(
    "text, words",
    [
        ('{"images": [', "not valid JSON"),
        ('{"images": [{"split": "test"}]}', "neither Karpathy's layout"),
        ('{"images": []}', "no image of split 'test'"),
        ("[1]", "neither Karpathy's"),
        ('{"images": [{"filename": "x.jpg", "split": "test", "sentences": [{"raw": "a"}]}]}', "x.jpg: missing, though"),
        (
            '{"images": [{"filename": "captions.json", "split": "test", "sentences": [{"raw": " "}]}]}',
            "captions is empty",
        ),
    ],
)
def test_broken_caption_files(tmp_path, text, words):
    (tmp_path / "captions.json").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        open_captions_json(tmp_path / "captions.json", [tmp_path])


def test_what_is_there_is_evaluated_and_what_is_absent_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "sets"
    official_layouts.cifar10(root)
    official_layouts.fer2013(root)
    official_layouts.flickr30k(root)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red {}\n")
    opened = suite.plan(str(root), [*suite.CLASSIFICATION, *suite.RETRIEVAL], {"fer2013": str(prompts)})
    assert set(opened.classification) == {"cifar10", "fer2013"} and set(opened.retrieval) == {"flickr30k"}
    assert len(opened.absent) == 10 and "DATA_ROOT" in opened.absent["imagenet"]
    assert opened.classification["fer2013"][2] == ["a red {}"]

    done = []
    for results in suite.run(Embedder(ColourTowers(8), 8), opened):
        done.append(tuple(results))  # a report can be written after each set
    assert done == [("cifar10",), ("cifar10", "fer2013"), ("cifar10", "fer2013", "flickr30k")]
    assert results["cifar10"]["images"] == 10 and results["cifar10"]["expected_images"] == 10000
    # Grey pictures and prompts of one colour: every class is equal, so the first one is the answer to all.
    assert results["fer2013"]["value"] == pytest.approx(100 / 7)
    report = tables.to_markdown(results, "swin_nano", opened.absent, {"model": "mine", "command": "eval_all.py"})
    assert report.startswith("# Zero-shot evaluation of mine (Swin-Nano)")
    assert "| LightCLIP (paper) | 29.2 | 71.0 |" in report and "10 (official: 10000)" in report
    assert "| fer2013 | top-1 | top-5 71.4, mean per class 14.3 | 7 (official: 3589) | 0 | 1 | " in report
    assert "| flickr30k | R@1, R@5 | image to text R@10 " in report and "mean recall" in report
    assert "pets: put images.tar.gz" in report and "command: eval_all.py" in report
    line = next(line for line in report.splitlines() if line.startswith(f"| {tables.OURS} | – |") and "14.3" in line)
    assert line.split("|")[2:13].count(" – ") == 9  # of eleven columns, CIFAR-10 and FER-2013 are there, no average
    csv = tables.to_csv(results, "swin_nano").splitlines()
    assert "1,LightCLIP (paper),Top-1,34.6000" in csv and f"1,{tables.OURS},Top-1," in csv
    assert "3,LightCLIP (paper),Flickr30K image to text R@1,52.3000" in csv


def test_mistakes_are_found_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="unknown data set 'cifar11'; known: imagenet, pets"):
        suite.plan(str(tmp_path), ["cifar11"], {})
    with pytest.raises(FileNotFoundError, match="none of the data sets.*cifar-10-binary"):
        suite.plan(str(tmp_path), ["cifar10"], {})


def test_the_papers_averages_follow_from_its_rows():
    for encoder in tables.paper()["encoders"]:
        for row in tables.paper()["table2"][encoder].values():
            assert row[-1] == pytest.approx(np.mean(row[:-1]), abs=0.051)
        assert all(len(row) == 8 for row in tables.paper()["table3"][encoder].values())
