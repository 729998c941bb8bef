"""The plot of the demo's generalisation: what is read of reports, and mistakes."""

import json

import pytest

from lightclip_ms.figures.generalisation import generalisation_figure, read_point, to_markdown


def write_report(folder, things, unseen):
    folder.mkdir()
    retrieval = {"image_to_text_R@1": 50.0, "text_to_image_R@1": 60.0, "chance_R@1": 0.2}
    results = {
        "val": retrieval,
        "unseen": {**retrieval, "image_to_text_R@1": unseen, "text_to_image_R@1": unseen},
        "names": {"classes": things, "top1": 20.0, "chance_top1": 100 / things},
        "unseen_names": {"classes": 42, "top1": 5.0, "chance_top1": 100 / 42},
        "compounds": {"classes": 50, "top1": 12.0, "chance_top1": 2.0},
    }
    (folder / "report.json").write_text(json.dumps({"results": results}))
    return str(folder)


def test_points_of_several_runs(tmp_path):
    paths = [
        write_report(tmp_path / name, *sizes) for name, sizes in {"a": (100, 6), "b": (400, 9), "c": (400, 11)}.items()
    ]
    points = [read_point(paths[0]), read_point(paths[1] + "/report.json"), read_point(paths[2])]
    assert (points[0].things, points[0].recall_known, points[1].recall_unseen) == (100, (55.0, 0.2), (9.0, 0.2))
    assert to_markdown(points).splitlines()[2] == (
        "| 100 | 55.0 % | 6.0 % (0.2 %) | 20.0 % of 100 | 5.0 % (2.4 %) of 42 | 12.0 % (2.0 %) of 50 |"
    )
    recall, named = generalisation_figure(points).axes
    unseen = next(line for line in recall.lines if line.get_label() == "never-seen things")
    assert unseen.get_xydata().tolist() == [[100, 6], [400, 10]]  # through the mean of two runs
    assert [tick.get_text() for tick in named.get_xticklabels()] == ["100", "400"]


def test_files_that_are_no_report(tmp_path):
    with pytest.raises(FileNotFoundError, match="report.json: no such file; scripts/demo_report.py writes it"):
        read_point(str(tmp_path))
    for text in ("{", "[]", '{"results": {"val": {}}}'):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(ValueError, match="report.json: no report of scripts/demo_report.py"):
            read_point(str(tmp_path))
