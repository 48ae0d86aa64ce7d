"""Targets that run on an NVIDIA GPU: TensorRT and TensorRT for RTX, which share their builder and their session."""
