"""A plain PyTorch implementation of the same training step: the yardstick for speed, and a second opinion on numbers.

Only `scripts/bench_step.py` and its test use it; the package never imports PyTorch (extra `bench`).
"""
