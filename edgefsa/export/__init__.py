"""From a module to model.onnx, which takes camera frames and gives class masks.

Names resolve on first use: `edgefsa.graph.files`, which quantize and engines read ONNX files with, needs
no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "ExportReport": "edgefsa.export.export",
    "inline_functions": "edgefsa.graph.files",
    "load_graph": "edgefsa.graph.files",
    "onnx_from_model": "edgefsa.export.export",
    "read_metadata": "edgefsa.graph.files",
    "weights_hash": "edgefsa.graph.files",
}
__all__ = list(_PUBLIC)

if TYPE_CHECKING:
    from edgefsa.export.export import ExportReport as ExportReport
    from edgefsa.export.export import onnx_from_model as onnx_from_model
    from edgefsa.graph.files import inline_functions as inline_functions
    from edgefsa.graph.files import load_graph as load_graph
    from edgefsa.graph.files import read_metadata as read_metadata
    from edgefsa.graph.files import weights_hash as weights_hash


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        import importlib

        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'edgefsa.export' has no attribute {name!r}")
