"""A look at a data set before training on it: its bad records by name, and a picture of what the network will see."""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lightclip_ms.data.decode import EncodedImage
from lightclip_ms.data.skipped import BadRecord, SkipReport
from lightclip_ms.data.workers import start_worker

_COLUMNS, _ROWS = 8, 4
_TEXT_LINES = 4
_TEXT_SIZE = 12
_WINDOW = 256


def read_all(source, limit: int, workers: int, progress) -> tuple[SkipReport, list[str]]:
    """Read and decode up to `limit` pairs, spread over the data set (0: all).

    Returns:
        What was bad by reason, and the first ten bad records, one line each.
    """
    report, first = SkipReport(), []

    def trouble(index: int) -> BadRecord | None:
        try:
            EncodedImage(source.read(index).image).draft(reduction=8)
        except BadRecord as error:
            return error
        return None

    count = len(source)
    indices = np.unique(np.linspace(0, count - 1, min(limit or count, count)).astype(np.int64)).tolist()
    with ThreadPoolExecutor(workers, initializer=start_worker) as pool:
        for start in range(0, len(indices), _WINDOW):  # in parts: millions of futures would fill the memory
            chunk = indices[start : start + _WINDOW]
            for index, error in zip(chunk, pool.map(trouble, chunk)):
                if error is not None:
                    report.add(error.reason, source.key(index), error.detail)
                    if len(first) < 10:
                        first.append(f"{source.key(index)}: {error}")
            progress(len(chunk))
    return report, first


def contact_sheet(batch: dict, tokenizer) -> Image.Image:
    """Up to 32 samples of a training batch as the network gets them, each over its text and masked text."""
    size = batch["image"].shape[1]
    cell = max(size, 160)
    font = ImageFont.load_default(_TEXT_SIZE)
    line = _TEXT_SIZE + 3
    height = size + 2 * _TEXT_LINES * line + 12
    rows = min(_ROWS, -(-len(batch["image"]) // _COLUMNS))
    sheet = Image.new("RGB", (_COLUMNS * (cell + 8) + 8, rows * height + 8), "white")
    draw = ImageDraw.Draw(sheet)
    for number, pixels in enumerate(batch["image"][: rows * _COLUMNS]):
        left, top = number % _COLUMNS * (cell + 8) + 8, number // _COLUMNS * height + 8
        sheet.paste(Image.fromarray(pixels), (left, top))
        for part, colour in (("text", "black"), ("masked_text", "firebrick")):
            text = tokenizer.decode(batch[part][number]).replace("<|mask|>", "[mask]")
            for wrapped in _wrap(text, functools.partial(draw.textlength, font=font), cell)[:_TEXT_LINES]:
                draw.text((left, top + size + 2), wrapped, colour, font)
                top += line
    return sheet


def _wrap(text: str, width_of, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if width_of(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
