"""Photographs for timing: 500x375 JPEG whose size and detail are those of real ones."""

import io

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 500, 375
_WORDS = (
    "a the of on in with two small large red green old young dog cat man woman street house tree river mountain "
    "running sitting standing next to under photo evening light market boat train station kitchen"
).split()


def _texture(rng: np.random.Generator) -> np.ndarray:
    """Noise with a photograph's 1/f spectrum and unit deviation, [H, W]."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    frequency[0, 0] = 1
    spectrum = (rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)) / frequency
    noise = np.fft.irfft2(spectrum, s=(HEIGHT, WIDTH))
    return noise / noise.std()


def make_photo(rng: np.random.Generator, small: Image.Image | None = None) -> bytes:
    """A JPEG of about 60 kB: a small photograph (or smooth colours) made larger, with texture."""
    if small is None:
        small = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    pixels = np.asarray(small.convert("RGB").resize((WIDTH, HEIGHT), Image.BICUBIC), np.float32)
    pixels = pixels + 14 * _texture(rng)[..., None] + 3 * np.stack([_texture(rng) for _ in range(3)], axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def make_caption(rng: np.random.Generator) -> str:
    """Six to twenty common words."""
    return " ".join(rng.choice(_WORDS, rng.integers(6, 21)))
