"""The checkpoints of a run: which stay, and which one is the newest good one."""

import numpy as np

from lightclip_ms.train.checkpoint import CheckpointFolder

ARRAYS = {"model/a": np.arange(6, dtype=np.float32).reshape(2, 3), "optimizer/step": np.array(3, np.int32)}
HEADER = {"kind": "training", "global_step": 3}


def test_the_folder_keeps_the_last_ones_and_passes_over_damaged_ones(tmp_path):
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    assert folder.latest() is None
    for step in (5, 10, 100):
        folder.write(step, ARRAYS, {**HEADER, "global_step": step})
    assert [path.name for path in folder.paths()] == ["step_000000010.safetensors", "step_000000100.safetensors"]
    folder.paths()[-1].write_bytes(b"cut")
    warnings = []
    path, _, header = folder.latest(warnings.append)
    assert path.name == "step_000000010.safetensors" and header["global_step"] == 10
    assert len(warnings) == 1 and "step_000000100" in warnings[0]
