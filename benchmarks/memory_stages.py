"""Memory of a training process, stage by stage: `python -m benchmarks.memory_stages CONFIG:BATCH [...]`.

Each case runs in a process of its own. A Markdown row per stage: what the process holds after it, the most it held so
far, and the growth of that peak.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

STEPS = 3


def _megabytes() -> dict:
    """What this process holds, and the most that it held so far."""
    status = Path("/proc/self/status").read_text()
    return {key: int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) * 1024 / 1e6 for key in ("VmRSS", "VmHWM")}


def _stages(case: str) -> list:
    """(stage, megabytes) of building and running the step of a case in this process."""
    found = []

    def note(stage):
        found.append((stage, _megabytes()))

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
    print("| step | stage | held, MB | most so far, MB | growth |\n|---|---|---|---|---|")
    for case in sys.argv[1:]:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.memory_stages", "--child", case], stdout=subprocess.PIPE, check=True
        )
        before = 0.0
        for stage, found in json.loads(done.stdout.splitlines()[-1]):
            print(f"| {case} | {stage} | {found['VmRSS']:.0f} | {found['VmHWM']:.0f} | {found['VmHWM'] - before:.0f} |")
            before = found["VmHWM"]
        sys.stdout.flush()


if __name__ == "__main__":
    main()
