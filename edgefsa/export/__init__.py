"""From a module to model.onnx, which takes camera frames and gives class masks.

Names resolve on first use: `edgefsa.export.graph`, which quantize and engines read ONNX files with, needs
no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "ExportReport": "edgefsa.export.export",
    "inline_functions": "edgefsa.export.graph",
    "load_graph": "edgefsa.export.graph",
    "onnx_from_model": "edgefsa.export.export",
    "read_metadata": "edgefsa.export.graph",
    "weights_hash": "edgefsa.export.graph",
}
__all__ = list(_PUBLIC)

if TYPE_CHECKING:
    from edgefsa.export.export import ExportReport as ExportReport
    from edgefsa.export.export import onnx_from_model as onnx_from_model
    from edgefsa.export.graph import inline_functions as inline_functions
    from edgefsa.export.graph import load_graph as load_graph
    from edgefsa.export.graph import read_metadata as read_metadata
    from edgefsa.export.graph import weights_hash as weights_hash


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        import importlib

        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'edgefsa.export' has no attribute {name!r}")
