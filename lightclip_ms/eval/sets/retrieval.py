"""Captions JSON files: Karpathy's splits of Flickr30K and MS-COCO, and COCO's own annotations."""

import json
import os
from pathlib import Path

from lightclip_ms.data.reading import require_regular
from lightclip_ms.eval.sets.captioned import CaptionFiles

CAPTIONS_PER_IMAGE = 5  # the field's convention; a few COCO images have six or seven
SETS = {
    "flickr30k": {
        "name": "Flickr30K",
        "files": ["flickr30k/dataset_flickr30k.json"],
        "images": ["flickr30k-images", "images", "."],
        "count": 1000,
        "where": "dataset_flickr30k.json (Karpathy's split) and flickr30k-images/ into DATA_ROOT/flickr30k",
    },
    "coco": {
        "name": "MS-COCO",
        "files": ["coco/dataset_coco.json", "coco/annotations/captions_val2017.json"],
        "images": [".", "images"],
        "count": 5000,
        "where": "dataset_coco.json (Karpathy's split) with val2014/, or annotations/captions_val2017.json with "
        "val2017/, into DATA_ROOT/coco",
    },
}


def locate(key: str, data_root: str) -> Path | None:
    """The captions file of retrieval set `key` under `data_root`, or None."""
    candidates = [Path(data_root, file) for file in SETS[key]["files"]]
    return next((file for file in candidates if file.is_file()), None)


def open_set(key: str, path: Path) -> CaptionFiles:
    """The test split of a retrieval set from its captions file."""
    folders = [path.parent / folder for folder in SETS[key]["images"]]
    if path.parent.name == "annotations":
        folders = [path.parent.parent / path.stem.removeprefix("captions_"), path.parent.parent / "images"]
    return open_captions_json(path, folders)


def open_captions_json(path: str | Path, folders: list[Path], split: str = "test") -> CaptionFiles:
    """A caption set from Karpathy's JSON (its images of `split`) or from COCO's (all its images).

    Args:
        path: the JSON file; folders: where images may lie, the first that holds an image counts for it.

    Raises:
        FileNotFoundError: no such file, or an image is in none of the folders. ValueError: neither format, or no image.
    """
    require_regular(path)
    with open(path, encoding="utf-8") as file:
        try:
            content = json.load(file)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not valid JSON ({error}): the download is cut short") from None
    try:
        captions_of = _coco(content) if "annotations" in content else _karpathy(content, split)
        if not all(isinstance(name, str) for name in captions_of):
            raise TypeError("the name of an image is no text")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: neither Karpathy's layout (images, split, sentences) nor COCO's (images, annotations): {error!r}"
        ) from None
    captions_of = {name: captions[:CAPTIONS_PER_IMAGE] for name, captions in captions_of.items() if captions}
    if not captions_of:
        raise ValueError(f"{path}: no image of split {split!r} with a caption")
    return CaptionFiles({_find(name, folders, path): captions for name, captions in captions_of.items()})


def _karpathy(content: dict, split: str) -> dict[str, list[str]]:
    return {
        "/".join(filter(None, (entry.get("filepath"), entry["filename"]))): [s["raw"] for s in entry["sentences"]]
        for entry in content["images"]
        if entry["split"] == split
    }


def _coco(content: dict) -> dict[str, list[str]]:
    names = {entry["id"]: entry["file_name"] for entry in content["images"]}
    captions_of = {name: [] for name in names.values()}
    for annotation in content["annotations"]:  # in the file's order, which is that of COCO's own tools
        captions_of[names[annotation["image_id"]]].append(annotation["caption"])
    return captions_of


def _find(name: str, folders: list[Path], path: str | Path) -> Path:
    for folder in folders:
        if os.path.isfile(folder / name):
            return folder / name
    raise FileNotFoundError(f"{folders[0] / name}: missing, though {path} lists it: unpack the images' whole archive")
