"""Sample pictures that the page offers, from image files, folders, or the shards and tables of captioned pictures."""

import json
from collections.abc import Callable
from pathlib import Path

from lightclip_ms.eval.sets.captioned import open_captions
from lightclip_ms.eval.sets.images import open_images

LIMIT = 48
_CAPTIONED = (".tar", ".csv", ".tsv")


def sample_routes(sources: list[str]) -> dict[str, Callable[[], bytes]]:
    """Address -> function that returns the body: `pictures.json`, a list of {address, name, caption}, and each picture.

    Args:
        sources: image files, folders of them, or *.tar, *.csv and *.tsv of pictures with captions. The first `LIMIT`
            pictures of all are taken.

    Raises:
        FileNotFoundError, ValueError: as `open_images` and `open_captions`.
    """
    listed, routes = [], {}
    for source in sources:
        captioned = source.lower().endswith(_CAPTIONED)
        images = open_captions(source) if captioned else open_images([source])
        captions = dict(zip(images.image_of_caption.tolist(), images.captions)) if captioned else {}
        for index in range(min(len(images), LIMIT - len(listed))):
            address = f"/pictures/{len(listed)}"
            routes[address] = _reader(images, index)
            entry = {"address": address.lstrip("/"), "name": Path(images.key(index)).name}
            listed.append(entry | ({"caption": captions[index]} if index in captions else {}))
    return {"/pictures.json": lambda: json.dumps(listed).encode(), **routes}


def _reader(images, index: int) -> Callable[[], bytes]:
    return lambda: images.read(index)
