"""The step of one configuration for `benchmarks.methods`: `python -m benchmarks.methods_worker CONFIG.json LENGTHS`."""

import json
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor

from benchmarks.batch import make_batch, packed_rows
from benchmarks.protocol import serve
from lightclip_ms.config.file import from_dict
from lightclip_ms.data.batch import CAPTIONS, BatchLayout, make_layout
from lightclip_ms.data.packing import pack_groups
from lightclip_ms.model.factory import create_model
from lightclip_ms.runtime import backend
from lightclip_ms.train.objective import Objective
from lightclip_ms.train.step import TrainStep
from lightclip_ms.train.terms.term import needed_parts


def method_batch(layout: BatchLayout, vocab_size: int, lengths: str, packed: bool) -> tuple[Tensor, ...]:
    """A batch of noise with captions of the given lengths, every part of the layout in its order."""
    rng = np.random.default_rng(5)
    size, length = layout.batch_size, layout.context_length
    batch = make_batch(size, layout.image_size, length, vocab_size, lengths)
    batch |= {name: rng.permutation(batch["image"]) for name in ("image_2", "image_3")}
    batch["text_2"] = rng.permutation(batch["text"])
    if packed:
        captions = [batch[name] for name in CAPTIONS if name in layout.parts]
        rows = packed_rows(size, length, vocab_size, lengths, len(captions))
        batch |= pack_groups(captions, vocab_size - 1, rows, 1)
        layout = BatchLayout(size, layout.image_size, length, layout.slots, layout.parts, rows)
    return tuple(Tensor(array) for array in layout.arrays(batch))


def main() -> None:
    path, lengths = sys.argv[1:]
    config = from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
    backend.prepare_device("cpu")
    ms.set_seed(0)
    packed = config.train.pack_captions
    model = create_model(config.model)
    step = TrainStep(Objective(model, config.loss, packed=packed), config.train)
    batch = method_batch(make_layout(config, needed_parts(config.loss)), config.model.vocab_size, lengths, packed)
    inputs = Tensor(0, ms.int32), step.update.optimizer.rate(config.train.lr), Tensor(0.0, ms.float32)
    sizes = {
        "inference": sum(parameter.size for parameter in model.trainable_params()),
        "training": sum(parameter.size for parameter in step.update.parameters),
    }
    serve({"step": lambda: step(*inputs, *batch).asnumpy()}, sizes)


if __name__ == "__main__":
    main()
