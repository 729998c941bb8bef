"""Parts of official archives on disk, each read with a clear message about what is absent or cut short."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import loadmat

from lightclip_ms.data.skipped import SkipReport
from lightclip_ms.eval.sets.labelled import LabelledFiles


class LabelledArrays:
    """Images in memory.

    Args:
        pixels: uint8 [N, H, W] or [N, H, W, 3]; labels: N class indices; path: where they came from; classes: or None.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, path: Path, classes: list[str] | None):
        self._pixels, self._path = pixels, path
        self.labels = np.asarray(labels, np.int32)
        self.classes, self.report = classes, SkipReport()

    def __len__(self) -> int:
        return len(self._pixels)

    def key(self, index: int) -> str:
        return f"{self._path}: image {index}"

    def read(self, index: int) -> Image.Image:
        return Image.fromarray(self._pixels[index])


def sorted_folders(folder: Path) -> list[str]:
    """Names of the visible folders in a folder, in ASCII order."""
    existing([folder])
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def listed_files(root: Path, names: list[str], classes: list[str]) -> LabelledFiles:
    """Files `root/<class>/<file>` of a split list; a class may be a path of several folders."""
    order = {name: label for label, name in enumerate(classes)}
    folders = [name.rsplit("/", 1)[0] for name in names]
    unknown = next((folder for folder in folders if folder not in order), None)
    if unknown is not None:
        raise ValueError(
            f"{root}: the split lists class {unknown!r}, which is none of the {len(classes)} classes: "
            "unpack the whole archive"
        )
    return LabelledFiles(existing([root / name for name in names]), [order[folder] for folder in folders], classes)


def existing(paths: list[Path]) -> list[Path]:
    """The paths themselves; FileNotFoundError that names the first absent one."""
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(f"{missing[0]}: missing ({len(missing)} of {len(paths)} files): unpack the archive")
    return paths


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank; ValueError if there are none."""
    existing([path])
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path}: empty; unpack the archive again")
    return lines


def read_binary(path: Path, record: int) -> np.ndarray:
    """uint8 values of a file of whole records; ValueError if it is cut short."""
    existing([path])
    size = path.stat().st_size
    if not size or size % record:
        raise ValueError(f"{path}: {size} bytes, expected a multiple of {record}: the download is cut short")
    return np.fromfile(path, np.uint8)


def read_matrix(path: Path) -> dict:
    """The variables of a MATLAB file; ValueError if it is none."""
    existing([path])
    try:
        return loadmat(path, squeeze_me=True)
    except Exception as error:
        raise ValueError(f"{path}: not a MATLAB file ({error}): the download is cut short or damaged") from None
