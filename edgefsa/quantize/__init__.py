"""From frames to activation ranges, and from ranges to an explicitly quantised (Q/DQ) or a 16-bit ONNX graph.

Reads ONNX files, never a module: needs onnx, onnxruntime and numpy, and no torch.
"""

from edgefsa.quantize.calibrate import ranges_from_calibration
from edgefsa.quantize.half import fp16_onnx
from edgefsa.quantize.half_plan import wide_tensors
from edgefsa.quantize.histogram import METHODS
from edgefsa.quantize.qdq import QuantizationSummary, int8_onnx
from edgefsa.quantize.ranges import Ranges
from edgefsa.quantize.recipes import Recipe, read_recipe, recipe_of
from edgefsa.quantize.scan import HalfScan, scan_halves

__all__ = [
    "METHODS",
    "HalfScan",
    "QuantizationSummary",
    "Ranges",
    "Recipe",
    "fp16_onnx",
    "int8_onnx",
    "ranges_from_calibration",
    "read_recipe",
    "recipe_of",
    "scan_halves",
    "wide_tensors",
]
