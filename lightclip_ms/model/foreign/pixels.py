"""Networks trained on pictures of another mean and deviation: the first convolutions take that over."""

import numpy as np

from lightclip_ms.data.eval_transform import IMAGE_MEAN, IMAGE_STD

# how a source's pictures were normalised
NORMALIZATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "clip": (IMAGE_MEAN, IMAGE_STD),
}


def fold(arrays: dict[str, np.ndarray], pixel_layers: list[tuple[str, str]], normalization: str) -> dict:
    """Arrays whose network takes pictures normalised as CLIP's and gives what it gave for the source's.

    A picture x of CLIP's mean m and deviation d is (x d + m - m') / d' by the source's m' and d'. The factor d / d'
    goes into the kernels' input channels, the constant (m - m') / d' into the bias or, with its sign turned, into the
    moving mean of the batch normalisation behind.

    Exact where a convolution does not pad. Padding is 0 in both scales, which stands for two colours: ImageNet's mean
    and CLIP's are 0.02 deviations apart, so the outermost places of a padded map differ by that.

    Args:
        arrays: parameter -> array; not changed.
        pixel_layers: as in `Mapping`.
        normalization: a key of `NORMALIZATIONS`.
    """
    mean, std = (np.float64(values) for values in NORMALIZATIONS[normalization])
    factor, constant = np.float64(IMAGE_STD) / std, (np.float64(IMAGE_MEAN) - mean) / std
    folded = dict(arrays)
    for weight, shift in pixel_layers:
        kernels = arrays[weight].astype(np.float64)  # [O, 3, K, K]
        added = np.einsum("ocij,c->o", kernels, constant)
        folded[weight] = (kernels * factor[:, None, None]).astype(np.float32)
        folded[shift] = (arrays[shift] + (-added if shift.endswith("moving_mean") else added)).astype(np.float32)
    return folded
