"""Settings of the threads and processes that decode and augment: process-wide, so no import makes them."""

import warnings

import cv2


def start_worker() -> None:
    """Initializer of a pool of workers: each is one thread, and broken EXIF data, common and harmless, warn nobody."""
    cv2.setNumThreads(0)  # OpenCV's own pool would compete with the workers
    warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")
