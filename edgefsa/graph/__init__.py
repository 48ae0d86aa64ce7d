"""ONNX graphs of edgefsa: reading and checking files, editing, and the operators of our domain. Needs no torch."""
