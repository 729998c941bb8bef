"""What the benchmark of methods measures and prints; the numbers themselves are a matter of the machine."""

import numpy as np

from benchmarks import methods
from benchmarks.methods_worker import method_batch
from lightclip_ms.config.file import load_config
from lightclip_ms.data.batch import make_layout
from lightclip_ms.train.terms.term import needed_parts


def test_ratios_are_medians_of_each_rounds_own():
    sizes = {"clip": {"inference": 1_000_000, "training": 1_000_000}, "slip": {"inference": 1_000_000, "training": 2e6}}
    answers = [
        {"clip": {"seconds": clip, "peak_megabytes": 500}, "slip": {"seconds": slip, "peak_megabytes": 900}}
        for clip, slip in ((1, 2), (10, 20), (2, 9))
    ]
    first, second = methods.summarize(sizes, answers)
    assert (first["seconds"], first["ratio"]) == (2, 1) and (second["seconds"], second["ratio"]) == (9, 2)
    assert methods.to_markdown([first, second]).splitlines()[3] == (
        "| slip | 1.00 M | 2.00 M | 9.000 s | 2.00 | 0.90 GB |"
    )


def test_a_batch_has_every_part_that_a_method_needs():
    config = load_config("laptop", ["method=declip", "train.batch_size=4"])
    layout = make_layout(config, needed_parts(config.loss))
    batch = method_batch(layout, config.model.vocab_size, "uniform", False)
    assert [array.shape for array in batch] == [layout.shape(name) for name in layout.inputs]
    packed = method_batch(layout, config.model.vocab_size, "uniform", True)
    assert len(packed) == len(batch) - 2 + 5  # two captions less, five packed arrays more
    assert np.asarray(packed[-1].asnumpy()).shape == (3 * 4,)
