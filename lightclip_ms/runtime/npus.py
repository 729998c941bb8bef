"""Ascend cards of this machine and what CANN has set up, without loading MindSpore."""

import glob
import os
from collections.abc import Mapping

VISIBLE = "ASCEND_RT_VISIBLE_DEVICES"


def physical_npus() -> list[int]:
    """Ids of all cards, by their device nodes."""
    ids = (node.removeprefix("/dev/davinci") for node in glob.glob("/dev/davinci*"))
    return sorted(int(number) for number in ids if number.isdigit())


def visible_npus(environ: Mapping[str, str] = os.environ) -> list[int]:
    """Ids of the cards that this process may use, in the order in which CANN numbers them from 0.

    CANN hides the others, so rank 0 of a machine gets the first of these, whatever its id is.

    Raises:
        ValueError: `ASCEND_RT_VISIBLE_DEVICES` is no list of different ids of this machine's cards.
    """
    cards = physical_npus()
    if VISIBLE not in environ:
        return cards
    words = [word.strip() for word in environ[VISIBLE].split(",")]
    if words == [""]:
        return []
    if not all(word.isdigit() and int(word) in cards for word in words) or len(set(words)) < len(words):
        known = ",".join(str(card) for card in cards) or "none"
        raise ValueError(f"{VISIBLE}: {environ[VISIBLE]!r} must be different ids of this machine's cards ({known})")
    return [int(word) for word in words]


def check_devices(devices: int, device: str, environ: Mapping[str, str] = os.environ) -> None:
    """Refuse more processes than cards.

    Args:
        devices: processes on this machine.
        device: as in the configuration; on a machine without cards "auto" means its processor.

    Raises:
        ValueError: there are fewer visible cards; or `visible_npus` raises.
    """
    if device not in ("auto", "ascend") or not physical_npus():
        return
    visible = visible_npus(environ)
    if devices > len(visible):
        shown = f" ({VISIBLE}={environ[VISIBLE]})" if VISIBLE in environ else ""
        raise ValueError(f"{devices} processes need as many NPUs, but {len(visible)} are visible{shown}")
