"""Memory of a training process, stage by stage: `python -m benchmarks.memory_stages CONFIG:BATCH [...]`.

Each case runs in a process of its own. A Markdown row per stage: what the process holds after it, the most it held so
far, the growth of that peak, and what is held in which kind of mapping: files (libraries), malloc's heap (the graph,
kernels, small tensors), and larger blocks (the pool of tensors that kernels use, and copies on the host).
"""

import json
import re
import subprocess
import sys
from pathlib import Path

STEPS = 3
_ARENA = 64 << 20  # bytes: what malloc maps for each thread begins or ends at a multiple


def _megabytes() -> dict:
    """What this process holds, and the most that it held so far."""
    status = Path("/proc/self/status").read_text()
    return {key: int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) * 1024 / 1e6 for key in ("VmRSS", "VmHWM")}


def _held_by_kind() -> dict:
    """Resident megabytes of this process's mappings by kind: "files", "heap", "blocks"."""
    found, kind = dict.fromkeys(("files", "heap", "blocks"), 0.0), ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if mapping := re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+\s*(.*)", line):
            start, end, name = int(mapping[1], 16), int(mapping[2], 16), mapping[3]
            in_arena = end - start <= _ARENA and (start % _ARENA == 0 or end % _ARENA == 0)
            kind = "files" if name.startswith("/") else "heap" if name == "[heap]" or in_arena else "blocks"
        elif resident := re.match(r"Rss:\s+(\d+) kB", line):
            found[kind] += int(resident[1]) * 1024 / 1e6
    return found


def _stages(case: str) -> list:
    """(stage, megabytes) of building and running the step of a case in this process."""
    found = []

    def note(stage):
        found.append((stage, _megabytes() | _held_by_kind()))

    import mindspore as ms  # the import is the first stage
    from mindspore import Tensor

    from benchmarks.batch import make_batch
    from lightclip_ms.config.file import load_config
    from lightclip_ms.model.factory import create_model
    from lightclip_ms.runtime.backend import prepare_device
    from lightclip_ms.train.objective import Objective
    from lightclip_ms.train.step import TrainStep

    prepare_device("cpu")
    note("import")
    name, _, pairs = case.partition(":")
    config = load_config(name, ["train.amp_level=O0"])
    model = create_model(config.model)
    note("model")
    packed = config.train.pack_captions
    objective = Objective(model, config.loss, packed=packed)
    note("training-only parts")
    step = TrainStep(objective, config.train)
    note("optimizer")
    sizes = int(pairs or 16), config.model.image_size, config.model.context_length, config.model.vocab_size
    batch = make_batch(*sizes, "cc12m" if packed else "uniform")
    inputs = (
        Tensor(2, ms.int32),
        Tensor(1e-6, ms.float32),
        Tensor(0.0, ms.float32),
        *(Tensor(batch[part]) for part in objective.parts),
    )
    step.compile(*inputs)
    note("compiled")
    for number in range(1, STEPS + 1):
        step(*inputs).asnumpy()
        note(f"step {number}")
    return found


def main() -> None:
    if sys.argv[1] == "--child":
        print(json.dumps(_stages(sys.argv[2])))
        return
    print(
        "| step | stage | held, MB | most so far, MB | growth | files | heap | blocks |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for case in sys.argv[1:]:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory_stages", "--child", case], stdout=subprocess.PIPE, check=True
        )
        before = 0.0
        for stage, found in json.loads(done.stdout.splitlines()[-1]):
            numbers = found["VmRSS"], found["VmHWM"], found["VmHWM"] - before
            kinds = (found[kind] for kind in ("files", "heap", "blocks"))
            print(f"| {case} | {stage} | {' | '.join(f'{number:.0f}' for number in (*numbers, *kinds))} |")
            before = found["VmHWM"]
        sys.stdout.flush()


if __name__ == "__main__":
    main()
