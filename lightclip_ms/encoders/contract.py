"""The contract of an image encoder: what the model, the terms of the objective, evaluation and the figures rely on.

Legend: N batch, H = W image side, P_s tokens of stage s, P tokens of the last stage (a square grid in raster order),
C_s channels of stage s, E embedding size.
"""

from mindspore import nn

STAGES = 4


class ImageEncoder(nn.Cell):
    """Base of every image encoder. A subclass defines two methods:

    forward_features(images [N, 3, H, W]) -> (stages, tokens, pooled)
        stages: four token maps [N, P_s, C_s] in raster order, s = 1 to 4, for the fusion of masked language modelling.
        tokens: those of the last stage [N, P, C_4], for token alignment, Grad-CAM and word-to-patch pictures.
        pooled: the embedding [N, E].
    pool_tokens(tokens [N, P, C_4]) -> pooled [N, E]
        the end of `forward_features`, differentiable on its own: Grad-CAM takes its gradient.

    Nothing random is computed in training: MindSpore's compiled random operators do not repeat, so a run could not be
    resumed exactly.

    Args:
        image_size: H, the side of the square input in pixels.
        embed_dim: E.
        stage_channels: C_s of the four stages.
        stage_strides: pixels of the input per token of a stage, along one side; P_s = (image_size / stride)^2.

    Raises:
        ValueError: not four stages, or an image size that a stride does not divide.
    """

    def __init__(self, image_size: int, embed_dim: int, stage_channels, stage_strides):
        super().__init__()
        name = type(self).__name__
        if len(stage_channels) != STAGES or len(stage_strides) != STAGES:
            raise ValueError(f"{name}: needs {STAGES} stages, not {stage_channels} channels at strides {stage_strides}")
        if image_size < 1 or image_size % stage_strides[-1]:
            raise ValueError(f"{name}: image size {image_size} must be a multiple of {stage_strides[-1]}")
        self.image_size = image_size
        self.embed_dim = embed_dim
        self.stage_channels = tuple(stage_channels)
        self.stage_strides = tuple(stage_strides)

    def construct(self, images):
        """[N, 3, H, W] -> pooled [N, E]."""
        return self.forward_features(images)[2]
