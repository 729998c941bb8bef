"""Evaluation data sets: where their images, labels, captions and prompts come from."""
