"""The same training batches by the usual means: Pillow, the way torchvision uses it, in worker processes.

The workers put whole batches into shared memory, as PyTorch's DataLoader does, so that passing them on costs nothing.
Captions go through the very code of the package: only the pictures are compared.
"""

import io
import math
import multiprocessing
import random
import time

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from lightclip_ms.data import Tokenizer, mask_tokens
from lightclip_ms.data.pairs import open_pairs
from lightclip_ms.data.text_augment import TextAugment

STAGES = ("decode", "crop and resize", "colour jitter, grayscale", "blur", "flip and copy")
_BATCHES_AHEAD = 2  # a worker, PyTorch's default


def _crop_box(width: int, height: int, config, rng: random.Random):
    low, high = (math.log(ratio) for ratio in config.crop_ratio)
    for _ in range(10):
        area, ratio = width * height * rng.uniform(*config.crop_scale), math.exp(rng.uniform(low, high))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if w <= width and h <= height:
            left, top = rng.randint(0, width - w), rng.randint(0, height - h)
            return left, top, left + w, top + h
    return 0, 0, width, height


def shift_hue(image: Image.Image, turn: float) -> Image.Image:
    """Hue moved by a part of a full circle, as torchvision does it."""
    hue, saturation, value = image.convert("HSV").split()
    shifted = np.array(hue) + np.uint8(int(turn * 255) % 256)
    return Image.merge("HSV", (Image.fromarray(shifted), saturation, value)).convert("RGB")


def _jitter(image: Image.Image, strengths, rng: random.Random) -> Image.Image:
    operations = [
        lambda i: ImageEnhance.Brightness(i).enhance(rng.uniform(1 - strengths[0], 1 + strengths[0])),
        lambda i: ImageEnhance.Contrast(i).enhance(rng.uniform(1 - strengths[1], 1 + strengths[1])),
        lambda i: ImageEnhance.Color(i).enhance(rng.uniform(1 - strengths[2], 1 + strengths[2])),
        lambda i: shift_hue(i, rng.uniform(-strengths[3], strengths[3])),
    ]
    rng.shuffle(operations)
    for operation in operations:
        image = operation(image)
    return image


def augment(data: bytes, size: int, config, rng: random.Random, seconds: dict) -> np.ndarray:
    """One picture, uint8 [size, size, 3]; adds the CPU time of each stage to `seconds`."""
    marks = [time.thread_time()]
    image = Image.open(io.BytesIO(data)).convert("RGB")
    marks.append(time.thread_time())
    image = image.crop(_crop_box(*image.size, config, rng)).resize((size, size), Image.BILINEAR)
    marks.append(time.thread_time())
    if rng.random() < config.jitter_p:
        image = _jitter(image, config.jitter, rng)
    if rng.random() < config.grayscale_p:
        image = image.convert("L").convert("RGB")
    marks.append(time.thread_time())
    if rng.random() < config.blur_p:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(*config.blur_sigma)))
    marks.append(time.thread_time())
    if rng.random() < config.flip_p:
        image = ImageOps.mirror(image)
    pixels = np.asarray(image)
    marks.append(time.thread_time())
    for stage, start, end in zip(STAGES, marks, marks[1:]):
        seconds[stage] = seconds.get(stage, 0) + end - start
    return pixels


def _work(path, size, batch_size, config, free, ready, memory, seed) -> None:
    source, tokenizer, augment_text = open_pairs(path), Tokenizer(), TextAugment(config.text_p, config.wordnet)
    rng, generator, seconds = random.Random(seed), np.random.default_rng(seed), {}
    slots = np.frombuffer(memory, np.uint8).reshape(-1, batch_size, size, size, 3)
    cpu = time.process_time()
    while (slot := free.get()) is not None:
        captions = []
        for row in range(batch_size):
            pair = source.read(rng.randrange(len(source)))
            slots[slot, row] = augment(pair.image, size, config, rng, seconds)
            captions.append(augment_text(pair.caption, generator))
        text = tokenizer(captions)
        ready.put((slot, text, mask_tokens(text, generator), time.process_time() - cpu))
        cpu = time.process_time()


class PilPipeline:
    """Batches of `workers` processes."""

    def __init__(self, path: str, size: int, batch_size: int, workers: int, config):
        context = multiprocessing.get_context("spawn")
        slots = workers * _BATCHES_AHEAD
        memory = context.RawArray("B", slots * batch_size * size * size * 3)
        self._batch_size, self._batches = batch_size, len(open_pairs(path)) // batch_size
        self._free, self._ready = context.Queue(), context.Queue()
        shared = (path, size, batch_size, config, self._free, self._ready, memory)
        self._workers = [context.Process(target=_work, daemon=True, args=(*shared, seed)) for seed in range(workers)]
        for worker in self._workers:
            worker.start()
        self._slots = list(range(slots))

    def run(self) -> tuple[float, float]:
        """Images a second of one epoch, without its remainder, by running processes; their CPU seconds an image."""
        batches = self._batches
        waiting = iter(range(batches))
        for slot, _ in zip(self._slots, waiting):
            self._free.put(slot)
        start, cpu = time.perf_counter(), 0.0
        for _ in range(batches):
            slot, _, _, seconds = self._ready.get()
            cpu += seconds
            if next(waiting, None) is not None:
                self._free.put(slot)
        images = batches * self._batch_size
        return images / (time.perf_counter() - start), cpu / images

    def close(self) -> None:
        for _ in self._workers:
            self._free.put(None)
        for worker in self._workers:
            worker.join()
