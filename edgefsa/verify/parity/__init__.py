"""Where the stages part: checkpoint -> module -> ONNX -> bodies inlined -> converted -> engine, on the same frames.

Each stage is held against the one before it; the first beyond its bound is named, and in it the first block. A check
for the desk, not for the device: onnx is imported inside its functions, and torch only where the PyTorch module is a
stage.
"""

from edgefsa.verify.parity.compare import parity
from edgefsa.verify.parity.result import Fault, ParityReport, StageParity

__all__ = ["Fault", "ParityReport", "StageParity", "parity"]
