"""Activation ranges: what a calibration found, as JSON that people read, compare and edit."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import onnx

from edgefsa import __version__
from edgefsa.artifacts import write_json
from edgefsa.errors import RangesError
from edgefsa.graph.files import METADATA_KEY, read_metadata, weights_hash

FORMAT = 1
# Between these a tensor's scale, amax / 127, is a normal float32, and so is its inverse.
SMALLEST, LARGEST = 1e-35, 1e35
_REQUIRED = ("model", "model_sha256", "method", "data", "tensors")
_KINDS: dict[str, type] = {
    **{"model": str, "model_sha256": str, "method": str, "data": dict, "tensors": dict},
    **{"tool_version": str, "format": int},
}
_WORDS = {str: "a text", dict: "an object", int: "a whole number"}


@dataclass
class Ranges:
    """The largest magnitude `amax` that INT8 keeps of each tensor, in the tensor's own units.

    `tensors` maps a tensor's name in the graph to {"amax": float, "clipped": float}, in graph order; `clipped` is the
    share of the values measured, 0 to 1, that lay beyond, and may be missing where people wrote the file.
    `model_sha256` is `edgefsa.graph.files.weights_hash` of the network measured, `data` says on what: {"name",
    "fingerprint", "frames"}.
    """

    model: str
    model_sha256: str
    method: str
    data: dict[str, Any]
    tensors: dict[str, dict[str, float]]
    tool_version: str = __version__
    format: int = field(default=FORMAT)

    def write(self, path: str | Path) -> Path:
        """Write the ranges, whole or not at all; amax keeps six digits, clipped three."""
        value = asdict(self)
        tensors = value.pop("tensors")
        value["tensors"] = {name: _rounded(item) for name, item in tensors.items()}
        return write_json(path, value)

    @classmethod
    def read(cls, path: str | Path) -> Ranges:
        """Read a ranges file; RangesError says what is wrong with it, and where."""
        value = _json_of(path)
        missing = [name for name in _REQUIRED if name not in value] if isinstance(value, dict) else list(_REQUIRED)
        if missing:
            raise RangesError(f"{path} is no ranges file (without {', '.join(missing)}); run `edgefsa calibrate` again")
        known = {name: item for name, item in value.items() if name in cls.__dataclass_fields__}
        for name, item in known.items():
            kind = _KINDS[name]
            if not isinstance(item, kind) or isinstance(item, bool):
                raise RangesError(f"{path}: {name} is {str(item)[:80]!r}, not {_WORDS[kind]}; calibrate again")
        if value.get("format", FORMAT) != FORMAT:
            raise RangesError(f"{path} has format {value['format']}, this edgefsa reads {FORMAT}; calibrate again")
        for name, item in value["tensors"].items():
            amax = item.get("amax") if isinstance(item, dict) else None
            if not isinstance(amax, (int, float)) or isinstance(amax, bool) or not SMALLEST <= amax <= LARGEST:
                raise RangesError(
                    f"{path}: {name} has amax {str(amax)[:80]}; give a number from {SMALLEST:.0e} to {LARGEST:.0e}, "
                    "or calibrate again"
                )
            clipped = item.get("clipped", 0.0)
            if not isinstance(clipped, (int, float)) or isinstance(clipped, bool) or not 0 <= clipped <= 1:
                raise RangesError(
                    f"{path}: {name} has clipped {str(clipped)[:80]}; give a share from 0 to 1, or leave it out"
                )
        return cls(**known)

    def check(self, model: onnx.ModelProto) -> None:
        """Raise RangesError where these ranges were measured on another network or other weights."""
        actual = weights_hash(model)
        if actual == self.model_sha256:
            return
        named = any(item.key == METADATA_KEY for item in model.metadata_props)
        name = read_metadata(model)["model"] if named else "another graph"
        what = "other weights of it" if name == self.model else name
        raise RangesError(
            f"the ranges are of {self.model} ({self.model_sha256[:12]}), the graph is of {what} ({actual[:12]}); "
            "calibrate this one with `edgefsa calibrate`"
        )

    def amax(self, tensor: str) -> float:
        """Return one tensor's range; RangesError where it was not measured."""
        if tensor not in self.tensors:
            raise RangesError(f"the ranges of {self.model} lack the tensor {tensor}; run `edgefsa calibrate` again")
        return float(self.tensors[tensor]["amax"])


def _rounded(item: dict[str, float]) -> dict[str, float]:
    clipped = {"clipped": float(f"{item['clipped']:.3g}")} if "clipped" in item else {}
    return {"amax": float(f"{item['amax']:.6g}"), **clipped}


def _json_of(path: str | Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RangesError(f"cannot read {path}: {reason}; make it with `edgefsa calibrate`") from None
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise RangesError(f"{path} is not JSON ({error}); mend it, or run `edgefsa calibrate` again") from None
