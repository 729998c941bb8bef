"""Trained models for places without MindSpore: ONNX, MINDIR and PyTorch files, and ONNX Runtime to run them."""
