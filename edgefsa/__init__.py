"""edgefsa: from a FsaNet or SPANet checkpoint to a real-time segmentation engine, with proof."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "create_model": "edgefsa.models",
    "load_checkpoint": "edgefsa.models",
    "list_models": "edgefsa.models",
    "onnx_from_model": "edgefsa.export",
    "build_engine": "edgefsa.engines",
    "open_engine": "edgefsa.engines",
    "Segmenter": "edgefsa.segment",
}
__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from edgefsa.engines import build_engine as build_engine
    from edgefsa.engines import open_engine as open_engine
    from edgefsa.export import onnx_from_model as onnx_from_model
    from edgefsa.models import create_model as create_model
    from edgefsa.models import list_models as list_models
    from edgefsa.models import load_checkpoint as load_checkpoint
    from edgefsa.segment import Segmenter as Segmenter


def __getattr__(name: str) -> Any:
    # Resolved on first use: a process that only runs an engine must not import torch or onnx.
    if name in _PUBLIC:
        import importlib

        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'edgefsa' has no attribute {name!r}")
