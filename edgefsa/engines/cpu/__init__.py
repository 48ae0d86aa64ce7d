"""Targets that run on a CPU: OpenVINO and ONNX Runtime."""
