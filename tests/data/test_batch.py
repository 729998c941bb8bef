"""The layout of a batch: order, shapes, and what is refused."""

import numpy as np
import pytest

from lightclip_ms.config.file import from_dict
from lightclip_ms.data.batch import LIGHTCLIP_PARTS, PARTS, BatchLayout, make_layout

LAYOUT = BatchLayout(batch_size=4, image_size=32, context_length=10, slots=2)


def test_a_layout_orders_its_parts_and_always_holds_image_and_text():
    layout = BatchLayout(4, 32, 10, 2, ("text_2", "mlm_labels", "image_2"))
    assert layout.parts == ("image", "text", "mlm_labels", "image_2", "text_2")
    assert LAYOUT.parts == LIGHTCLIP_PARTS
    with pytest.raises(ValueError, match="batch part 'pixels' is unknown; it is one of image, text"):
        BatchLayout(4, 32, 10, 2, ("pixels",))


def test_every_part_has_the_shape_and_dtype_of_its_declaration():
    layout = BatchLayout(4, 32, 10, 2, tuple(PARTS))
    shapes = {name: (array.shape, array.dtype) for name, array in layout.empty().items()}
    assert shapes["image"] == shapes["image_3"] == ((4, 32, 32, 3), np.uint8)
    assert shapes["text"] == shapes["masked_text"] == ((4, 10), np.int32)
    assert shapes["mlm_weights"] == ((4, 2), np.float32)
    assert [array.shape for array in layout.arrays(layout.empty())] == [shape for shape, _ in shapes.values()]


@pytest.mark.parametrize("wrong", [None, np.zeros((4, 10), np.int64), np.zeros((3, 10), np.int32)])
def test_a_batch_that_would_need_another_graph_is_refused(wrong):
    batch = {**LAYOUT.empty(), "text": wrong}
    with pytest.raises(ValueError, match=r"batch part text: expected int32 \[4, 10\], found"):
        LAYOUT.arrays(batch)


def test_the_layout_of_a_configuration():
    config = from_dict({"model": {"name": "lightclip_demo"}, "train": {"batch_size": 3}})
    layout = make_layout(config, ("image_2",))
    assert layout.shape("image_2") == (3, 64, 64, 3) and layout.shape("text") == (3, 24) and layout.slots == 4
