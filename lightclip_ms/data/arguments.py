"""Checks of what users pass to `encode_image` and `encode_text`; each message says what to pass instead."""

_AS_IMAGES = "pass numpy.stack([eval_transform(image) for image in images]), float32 [N, 3, S, S]"
_AS_TOKENS = "pass tokenizer(texts), int32 [N, L]; tokenizer = lightclip_ms.get_tokenizer(NAME)"


def require_images(images, size: int) -> None:
    """Raises ValueError unless `images` is a Tensor or array of floats [N, 3, size, size]."""
    if not hasattr(images, "shape") or not hasattr(images, "dtype"):
        raise ValueError(f"encode_image takes an array or Tensor, not {type(images).__name__}: {_AS_IMAGES}")
    shape = list(images.shape)
    if len(shape) == 3 and shape[0] == 3:
        raise ValueError(
            f"encode_image takes a batch [N, 3, {size}, {size}], not one picture {shape}: pass images[None]"
        )
    if len(shape) == 4 and shape[3] == 3 != shape[1]:
        raise ValueError(
            f"images must be [N, 3, {size}, {size}], not {shape}: the colours come before the rows; {_AS_IMAGES}"
        )
    if len(shape) != 4 or shape[1:] != [3, size, size]:
        raise ValueError(f"images must be [N, 3, {size}, {size}], not {shape}: {_AS_IMAGES}")
    if "float" not in str(images.dtype).lower():
        raise ValueError(f"images are {images.dtype}, not normalised floats: {_AS_IMAGES}")


def require_tokens(tokens, length: int) -> None:
    """Raises ValueError unless `tokens` is a Tensor or array of integers [N, length] with N >= 1."""
    if not hasattr(tokens, "shape") or not hasattr(tokens, "dtype"):
        what = "texts" if isinstance(tokens, str) or any(isinstance(item, str) for item in _first(tokens)) else ""
        raise ValueError(f"encode_text takes token ids, not {what or type(tokens).__name__}: {_AS_TOKENS}")
    shape = list(tokens.shape)
    if len(shape) == 1 and shape == [length]:
        raise ValueError(f"encode_text takes a batch [N, {length}], not the ids of one text {shape}: pass tokens[None]")
    if len(shape) != 2 or shape[1] != length:
        raise ValueError(f"tokens must be [N, {length}], not {shape}: {_AS_TOKENS}")
    if not shape[0]:
        raise ValueError(f"no text in the batch {shape}: pass one or more")
    kind = str(tokens.dtype).lower()
    if "int" not in kind:
        raise ValueError(f"tokens are {tokens.dtype}, not integers: {_AS_TOKENS}")


def _first(items) -> list:
    return items[:1] if isinstance(items, (list, tuple)) else []
