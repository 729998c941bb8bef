"""Settings of the threads and processes that decode and augment: process-wide, so no import makes them."""

import ctypes
import warnings

import cv2

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT, _MAPPED_FROM = 64 << 20, 8 << 20  # bytes


def start_worker() -> None:
    """Initializer of a pool of workers: each is one thread, and broken EXIF data, common and harmless, warn nobody."""
    cv2.setNumThreads(0)  # OpenCV's own pool would compete with the workers
    warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """By default glibc returns what a picture used to the kernel, and the next one waits for fresh pages."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
