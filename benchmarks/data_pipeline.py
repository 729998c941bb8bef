"""What `scripts/bench_data.py` measures on photographs made here: our pipeline, its stages, its scaling, resuming."""

import contextlib
import io
import itertools
import random
import statistics
import tarfile
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
from PIL import Image

from benchmarks.batch import STEPS
from benchmarks.photos import make_caption, make_photo
from benchmarks.pil_pipeline import augment
from benchmarks.python_lock import one_core_spared, seconds_locked
from lightclip_ms.config.schema import AugmentConfig, DataConfig
from lightclip_ms.data import Tokenizer, crew, mask_tokens
from lightclip_ms.data.batch import BatchLayout
from lightclip_ms.data.decode import EncodedImage
from lightclip_ms.data.image_augment import blur, draw_augmentation, recolour, resize_crop
from lightclip_ms.data.masking import num_slots
from lightclip_ms.data.packing import choose_rows
from lightclip_ms.data.pairs import open_pairs
from lightclip_ms.data.pipeline import TrainData
from lightclip_ms.data.text_augment import TextAugment
from lightclip_ms.data.workers import start_worker

PHOTOS, COPIES = 400, 5
SIZE, CONTEXT_LENGTH, BATCH, CHUNK = 224, 77, 64, 16  # CHUNK samples are made at once, as in the pipeline
# A thread that wants the lock waits 5 ms for the counting one, several times a picture.
LOCKED_BATCHES = 6


def write_photos(path: str, small_photos: str) -> float:
    """One tar shard of 2,000 pairs; returns the pictures' mean size in bytes."""
    source = open_pairs(small_photos) if small_photos else None
    rng = np.random.default_rng(0)
    photos = []
    for index in range(PHOTOS):
        small = Image.open(io.BytesIO(source.read(index % len(source)).image)) if source else None
        photos.append(make_photo(rng, small))
    with tarfile.open(path, "w") as archive:
        for index in range(PHOTOS * COPIES):
            for ending, data in (("jpg", photos[index % PHOTOS]), ("txt", make_caption(rng).encode())):
                member = tarfile.TarInfo(f"{index:06d}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return statistics.mean(map(len, photos))


def _layout(batch_size: int) -> BatchLayout:
    return BatchLayout(batch_size, SIZE, CONTEXT_LENGTH, num_slots(CONTEXT_LENGTH))


class OurPipeline:
    """`TrainData` with packed captions, epoch after epoch; `kind` overrules what works: threads or processes."""

    def __init__(self, path: str, workers: int, kind: str = ""):
        self.workers, self._kind = workers, kind
        layout = _layout(BATCH)
        self._data = TrainData(DataConfig(train=path, workers=workers), Tokenizer(), layout)
        lengths, copies = self._data.sample_lengths(PHOTOS), layout.captions // BATCH
        self._data.pack_captions(choose_rows(lengths, BATCH, copies, CONTEXT_LENGTH, steps=STEPS))
        self._epoch = 0

    def run(self) -> tuple[float, float]:
        """Images a second of one epoch, from its start to the last batch; CPU seconds an image."""
        start, cpu = time.perf_counter(), _cpu_seconds()
        images = self._read()
        return images / (time.perf_counter() - start), (_cpu_seconds() - cpu) / images

    def _read(self, batches: int | None = None) -> int:
        """Images of the first `batches` of an epoch, None: all."""
        usual = crew.MOST_THREADS
        crew.MOST_THREADS = {"threads": self.workers, "processes": 0}.get(self._kind, usual)
        with contextlib.closing(self._data.epoch(self._epoch)) as epoch:
            images = sum(len(batch["index"]) for batch in itertools.islice(epoch, batches))
        crew.MOST_THREADS = usual
        self._epoch += 1
        return images

    def close(self) -> None:
        """End its processes."""
        self._data.close()

    def locked(self, core: int) -> float:
        """Seconds an image for which this process's lock is held."""
        images = []
        return seconds_locked(lambda: images.append(self._read(LOCKED_BATCHES)), core) / images[0]


def _cpu_seconds() -> float:
    """Of this process and its worker processes."""
    own = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (own, *own.children()))


def worker_memory() -> str:
    """Resident MB of the largest worker process, and how much of it only that process has; empty without processes."""
    found = [process.memory_full_info() for process in psutil.Process().children()]
    if not found:
        return ""
    return f"{max(memory.rss for memory in found) / 1e6:.0f} MB a worker, {found[0].uss / 1e6:.0f} of them its own"


def print_scaling(path: str, cores: int) -> None:
    """Images a second with 1, 2 and 4 threads and processes, lock held, and what `cores` of them could reach."""
    print(f"{'workers':<13} {'images/s':>8} {'CPU ms':>7} {'locked ms':>10}   an image")
    for kind in ("threads", "processes"):
        for workers in (1, 2, 4):
            ours = OurPipeline(path, workers, kind)
            ours.run()
            speed, cpu = max(ours.run() for _ in range(3))
            print(f"{workers} {kind:<11} {speed:8.0f} {1e3 * cpu:7.2f}", end="", flush=True)
            memory = worker_memory()
            ours.close()
            if workers == 2:
                # The workers start on the cores that are left for them.
                with one_core_spared() as core:
                    pinned = OurPipeline(path, workers, kind)
                    pinned.run()
                    locked = statistics.median(pinned.locked(core) for _ in range(3))
                    pinned.close()
                print(f" {1e3 * locked:10.3f}", end="")
                by_lock, by_cpu = 1 / max(locked, 1e-6), cores / cpu
                limit = f"{min(by_lock, by_cpu):,.0f} images/s, {'lock' if by_lock < by_cpu else 'cores'}"
                models = f"{kind} on {cores} cores: {limit} (lock {by_lock:,.0f}, cores {by_cpu:,.0f})"
            print(f"   {memory}" if workers > 1 else "")
        print(f"model: {models}")


class _Stages(dict):
    """Seconds of CPU of this thread by stage: each lasts from the end of the one before."""

    def __init__(self):
        super().__init__()
        self._mark = time.thread_time()

    def done(self, stage: str) -> None:
        now = time.thread_time()
        self[stage] = self.get(stage, 0.0) + now - self._mark
        self._mark = now


def our_stages(path: str, samples: int) -> dict[str, float]:
    """Milliseconds of CPU an image in each stage, in one thread, in the order in which `Samples` works."""
    start_worker()
    source, config = open_pairs(path), AugmentConfig()
    tokenizer, augment_text, place = Tokenizer(), TextAugment(), np.empty((SIZE, SIZE, 3), np.uint8)
    stages = _Stages()
    for first in range(0, samples - samples % CHUNK, CHUNK):
        drawn = []
        for index in range(first, first + CHUNK):
            pair, rng = source.read(index), np.random.default_rng([0, 0, index])
            stages.done("read")
            caption = augment_text(pair.caption, rng)
            stages.done("text: augment")
            image = EncodedImage(pair.image)
            drawn.append((image, draw_augmentation(rng, image.height, image.width, config), caption, rng))
            stages.done("header, random numbers")
        for image, parameters, *_ in drawn:
            pixels = image.draft(1)
            stages.done("decode")
            pixels = resize_crop(pixels, parameters.crop, SIZE)
            stages.done("crop and resize")
            if parameters.jitter or parameters.grayscale:
                pixels = recolour(pixels, parameters.jitter, parameters.grayscale)
            stages.done("colour jitter, grayscale")
            if parameters.sigma:
                pixels = blur(pixels, parameters.sigma)
            stages.done("blur")
            place[:] = cv2.flip(pixels, 1) if parameters.flip else pixels
            stages.done("flip and copy")
        ids = tokenizer([caption for _, _, caption, _ in drawn])
        stages.done("text: tokenize")
        mask_tokens(ids, [rng for *_, rng in drawn])
        stages.done("text: mask")
    return {stage: 1e3 * seconds / (samples - samples % CHUNK) for stage, seconds in stages.items()}


def decode_and_resize(path: str, samples: int) -> float:
    """Milliseconds of CPU an image that the same decoder and resizing of the same crops take, without all else."""
    source, config, seconds = open_pairs(path), AugmentConfig(), 0.0
    for index in range(samples):
        image = EncodedImage(source.read(index).image)
        crop = draw_augmentation(np.random.default_rng([0, 0, index]), image.height, image.width, config).crop
        start = time.thread_time()
        pixels = image.draft(1)[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
        cv2.resize(pixels, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        seconds += time.thread_time() - start
    return 1e3 * seconds / samples


def pil_stages(path: str, samples: int) -> dict[str, float]:
    source, seconds, rng = open_pairs(path), {}, random.Random(0)
    for index in range(samples):
        augment(source.read(index).image, SIZE, AugmentConfig(), rng, seconds)
    return {stage: 1e3 * total / samples for stage, total in seconds.items()}


def print_resume(folder: str, workers: int) -> None:
    """Seconds to the first batch at 90 % of an epoch of 50,000 pictures, and to read what it skips."""
    rng = np.random.default_rng(0)
    for number in range(PHOTOS):
        Path(folder, f"{number}.jpg").write_bytes(make_photo(rng))
    table = Path(folder, "pairs.csv")
    rows = "\n".join(f"{number % PHOTOS}.jpg,photograph {number}" for number in range(50_000))
    table.write_text(f"filepath,title\n{rows}\n", encoding="utf-8")
    data = TrainData(DataConfig(train=str(table), workers=workers), Tokenizer(), _layout(100))
    seconds = []
    for first_step, steps in ((0, 1), (450, 1), (0, 450)):
        start, batches = time.perf_counter(), data.epoch(0, first_step)
        for _ in range(steps):
            next(batches)
        seconds.append(time.perf_counter() - start)
        batches.close()
    first, resumed, whole = seconds
    print(
        f"50,000 pictures, batches of 100, {workers} workers: the first batch came after {first:.2f} s, that at 90 % "
        f"after {resumed:.2f} s,\nreading 90 % took {whole:.1f} s: skipping costs {100 * resumed / whole:.2f} % of it"
    )


def print_turns(turns: dict[str, list[tuple[float, float]]]) -> None:
    medians = []
    for name, found in turns.items():
        speeds, seconds = zip(*found)
        medians.append((statistics.median(speeds), statistics.median(seconds)))
        print(
            f"{name:<14} {medians[-1][0]:6.0f} images/s ({min(speeds):.0f} to {max(speeds):.0f}), "
            f"{1e3 * medians[-1][1]:.2f} ms of CPU an image"
        )
    (ours, our_cpu), (pillow, pillow_cpu) = medians
    print(f"ratio          {ours / pillow:6.2f} in images/s, {pillow_cpu / our_cpu:.2f} in CPU time")


def print_stages(title: str, stages: dict[str, float]) -> None:
    print(f"{title}: {sum(stages.values()):.2f} ms of CPU an image in one thread")
    for stage, milliseconds in stages.items():
        print(f"  {stage:<26} {milliseconds:6.3f}")
