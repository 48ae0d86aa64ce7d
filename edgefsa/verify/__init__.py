"""Proof: accuracy against labels, latency, parity with the model, and the report that holds them.

Each lies in a module of its own (accuracy, latency, parity, report), to be imported by name: an engine's process
measures latency and accuracy without PyTorch, which only parity needs.
"""
