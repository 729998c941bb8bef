"""What the training step is compiled into, and what it costs: for Ascend and for tests."""
