"""Image encoders from MindCV's networks (`mindcv/mobilenet_v3_small_100`), with this package's attention pooling.

MindCV's own `features_only` counts blocks instead of stages, renames parameters, and half of the families refuse it. So
the network is built whole, and its cells are regrouped into four stages by the table in `config.mindcv_networks`.
"""

from mindspore import nn

from lightclip_ms.config.mindcv_networks import NETWORKS
from lightclip_ms.encoders.attention_pool import AttentionPool
from lightclip_ms.encoders.contract import ImageEncoder
from lightclip_ms.encoders.layers import HEAD_CHANNELS, dense, map_to_tokens

STRIDES = (4, 8, 16, 32)


class MindCVEncoder(ImageEncoder):
    """A network of MindCV without its classifier, with attention pooling.

    Drop path and dropout are off: masks drawn inside a compiled graph do not repeat, so no run could resume exactly.

    Args:
        network: MindCV's name of it, a key of `NETWORKS`.
        image_size: side of the square input in pixels, a multiple of 32.
        embed_dim: E.

    Raises:
        ValueError: an image size it cannot take. KeyError: a network that is not in the table.
    """

    def __init__(self, network: str, image_size: int, embed_dim: int):
        family = NETWORKS[network]
        super().__init__(image_size, embed_dim, family.networks[network], STRIDES)
        whole = _create(network)
        theirs = {id(parameter): name for name, parameter in whole.parameters_and_names()}
        cells = _cells(whole, family.cells)
        stages = []
        for count in family.stages:
            stages.append(nn.SequentialCell(cells[:count]))
            cells = cells[count:]
        self.stages = nn.CellList(stages)
        # Attention heads have 64 channels each: pool a wider map where the last stage has no multiple of that.
        channels = self.stage_channels[-1]
        width = -(-channels // HEAD_CHANNELS) * HEAD_CHANNELS
        self.widen = nn.Identity() if width == channels else dense(channels, width, channels**-0.5)
        self.pool = AttentionPool(width, embed_dim)
        self.source_names = {}  # MindCV's name of a parameter -> its name here
        for name, parameter in self.parameters_and_names():
            parameter.name = name  # without what MindCV's nesting left in it
            if id(parameter) in theirs:
                self.source_names[theirs[id(parameter)]] = name
        self.left_out_names = tuple(name for name in theirs.values() if name not in self.source_names)

    def forward_features(self, images):
        """[N, 3, H, W] -> (four stages [N, P_s, C_s], tokens [N, P, C_4], pooled [N, E])."""
        x = images
        outputs = ()
        for stage in self.stages:
            x = stage(x)
            outputs += (map_to_tokens(x),)
        return outputs, outputs[-1], self.pool_tokens(outputs[-1])

    def pool_tokens(self, tokens):
        """Tokens of the last stage [N, P, C_4] -> pooled [N, E]."""
        return self.pool(self.widen(tokens))


def _create(network: str) -> nn.Cell:
    """MindCV's network with fresh weights, without its random parts and its slow ones."""
    # MindCV loads its data sets, losses and optimizers with it: only for those who ask for one of its networks.
    from mindcv.models import create_model

    from lightclip_ms.encoders import mindcv_repairs

    whole = create_model(network)
    mindcv_repairs.repair(whole)
    return whole


def _cells(whole: nn.Cell, attributes: str) -> list[nn.Cell]:
    """The cells that `Family.cells` names, in the order in which they run."""
    cells = []
    for name in attributes.split():
        cell = getattr(whole, name.rstrip("*"))
        cells += list(cell) if name.endswith("*") else [cell]
    return cells
