"""Is the training step ready for Ascend? What can be said without an NPU, see docs/ascend.md."""
