"""Heads of the self-supervised terms. N rows, D width."""

from mindspore import nn

from lightclip_ms.encoders.layers import dense


class RowNorm(nn.Cell):
    """Batch norm of rows [N, D], with the statistics of all ranks once `synchronize_batch_norm` has seen it."""

    def __init__(self, width: int):
        super().__init__()
        # A sequence of one norm over pictures of one pixel: the form that is replaced by the one over all ranks.
        self.norm = nn.SequentialCell([nn.BatchNorm2d(width)])

    def construct(self, rows):
        return self.norm(rows.expand_dims(-1).expand_dims(-1)).reshape(rows.shape)


def projection_head(inputs: int, hidden: int, width: int) -> nn.SequentialCell:
    """SLIP's three layers with batch norm between them: [N, inputs] -> [N, width]."""
    return nn.SequentialCell(
        [
            dense(inputs, hidden, inputs**-0.5),
            RowNorm(hidden),
            nn.ReLU(),
            dense(hidden, hidden, hidden**-0.5),
            RowNorm(hidden),
            nn.ReLU(),
            dense(hidden, width, hidden**-0.5),
        ]
    )


def simsiam_projection_head(inputs: int, width: int) -> nn.SequentialCell:
    """SimSiam's three layers as DeCLIP has them, with batch norm after the last one too: [N, inputs] -> [N, width]."""
    return nn.SequentialCell([projection_head(inputs, width, width), RowNorm(width)])


def prediction_head(width: int, hidden: int) -> nn.SequentialCell:
    """SimSiam's bottleneck of two layers with batch norm between them: [N, width] -> [N, width]."""
    return nn.SequentialCell(
        [
            dense(width, hidden, width**-0.5),
            RowNorm(hidden),
            nn.ReLU(),
            dense(hidden, width, hidden**-0.5),
        ]
    )
