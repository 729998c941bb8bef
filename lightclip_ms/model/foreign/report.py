"""What an import did, as lines for the user and as a record for the checkpoint."""

import re

from lightclip_ms.model.foreign.importing import Imported


def _part(name: str) -> str:
    """`visual.stages.0.1.first.0.weight` -> `visual.stages.0.1`: the block or layer that a parameter belongs to."""
    return re.match(r"(visual|text)\.stages\.\d+\.(blocks\.)?\d+|(visual|text)\.\w+|\w+", name)[0]


def _source_part(names: list[str]) -> str:
    """What the names of several tensors begin with."""
    start = names[0].split(".")
    for name in names[1:]:
        words = name.split(".")
        start = start[: next((i for i, (a, b) in enumerate(zip(start, words)) if a != b), min(len(start), len(words)))]
    return ".".join(start) or ", ".join(sorted({name.split(".")[0] for name in names}))


def _group(names) -> dict[str, list[str]]:
    groups = {}
    for name in names:
        groups.setdefault(_part(name), []).append(name)
    return groups


def table(imported: list[Imported], fresh: list[str]) -> str:
    """Lines: which part of the model came from where, what stays fresh, what was left out, what differs by design."""
    lines = []
    for part in imported:
        mapping = part.mapping
        lines.append(f"{mapping.where}: {part.name}, {len(set(mapping.origins.values()))} tensors used")
        for target, names in _group(mapping.arrays).items():
            origin = _source_part([mapping.origins[name] for name in names])
            lines.append(f"  mapped    {target:<28} {len(names):>3} from {origin}")
        if mapping.left_out:
            lines.append(f"  left out  {len(mapping.left_out)} tensors: {', '.join(sorted(_heads(mapping.left_out)))}")
        lines += [f"  differs   {line}" for line in mapping.differences]
    towers = {part.tower for part in imported}
    untouched = [tower for tower in ("visual", "text") if tower not in towers]
    lines += [f"fresh: the whole {tower} tower" for tower in untouched]
    rest = [name for name in fresh if name.split(".")[0] not in untouched]
    lines += [f"fresh: {target} ({len(names)})" for target, names in _group(rest).items()]
    return "\n".join(lines)


def _heads(names: list[str]) -> set[str]:
    """The first words of tensors' names, buffers apart."""
    return {"counters" if name.endswith("num_batches_tracked") else name.split(".")[0] for name in names}


def record(imported: list[Imported], digests: dict[str, str], normalization: str, fresh: list[str]) -> dict:
    """The same for a checkpoint's header."""
    return {
        "normalization": normalization,
        "fresh": fresh,
        "sources": [
            {
                "file": part.mapping.where,
                "sha256": digests[part.mapping.where],
                "source": part.name,
                "tower": part.tower,
                "differences": part.mapping.differences,
            }
            for part in imported
        ],
    }
