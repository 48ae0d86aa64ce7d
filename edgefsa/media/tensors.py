"""Camera frames as the input tensors of networks that other tools exported: layout, type, colour order, normalisation.

A pixel has 256 values, so that whatever normalisation is one table look-up a channel, exact to the last bit of the
formula in float64. Imports neither torch nor onnx.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgefsa.errors import InputError

LAYOUTS = ("nchw", "nhwc")
DTYPES = ("float32", "float16", "uint8")
COLOURS = ("rgb", "bgr")

Tensor = npt.NDArray[Any]


@dataclass(frozen=True)
class InputForm:
    """The input tensor of a network: x = (pixel / divisor - mean) / std, pixels 0 to 255.

    `layout` is nchw or nhwc, `dtype` float32, float16 or uint8 (which is not normalised), `colours` rgb or bgr: the
    order of the tensor's channels, in which `mean` and `std` are too. Raises InputError for other values.
    """

    layout: str = "nchw"
    dtype: str = "float32"
    colours: str = "rgb"
    divisor: float = 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        for name, known in (("layout", LAYOUTS), ("dtype", DTYPES), ("colours", COLOURS)):
            if getattr(self, name) not in known:
                raise InputError(f"input {name} {getattr(self, name)!r} is unknown; use one of {', '.join(known)}")
        for name, values in (("mean", self.mean), ("std", self.std), ("divisor", (self.divisor,) * 3)):
            finite = len(values) == 3 and all(math.isfinite(value) for value in values)
            if not finite or (name != "mean" and min(values) <= 0):
                wanted = "three numbers" if name == "mean" else "above 0"
                raise InputError(
                    f"input {name} {getattr(self, name)} is not {wanted}; give what the network was trained with"
                )
        if self.dtype == "uint8" and (self.divisor, self.mean, self.std) != (1.0, (0.0,) * 3, (1.0,) * 3):
            raise InputError("a uint8 input takes pixels as they are; leave divisor, mean and std out, or give float32")

    @classmethod
    def of_uint8(cls, layout: str = "nhwc", colours: str = "bgr") -> InputForm:
        """Return the form of an input that takes pixels as they are."""
        return cls(layout, "uint8", colours, divisor=1.0)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> InputForm:
        """Return the form that `as_dict` gave; InputError where it is something else."""
        try:
            return cls(**{**value, "mean": tuple(value["mean"]), "std": tuple(value["std"])})
        except (TypeError, KeyError) as error:
            raise InputError(
                f"the input form {dict(value)} is not what edgefsa writes ({error}); adopt the file again"
            ) from None

    def as_dict(self) -> dict[str, Any]:
        """Return the form as JSON takes it."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    def in_words(self) -> str:
        """Return the form for people."""
        formula = (
            "" if self.dtype == "uint8" else f", (pixel / {self.divisor:g} - {_list(self.mean)}) / {_list(self.std)}"
        )
        return f"{self.dtype} {self.layout.upper()} {self.colours.upper()}{formula}"

    def shape(self, batch: int, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return the tensor's shape for frames of `size_hw`."""
        return (batch, 3, *size_hw) if self.layout == "nchw" else (batch, *size_hw, 3)

    def write(self, frames: npt.NDArray[np.uint8], out: Tensor) -> None:
        """Write frames uint8 [N, H, W, 3] BGR into `out`, contiguous, of this form's shape and type."""
        bits = out.view(np.uint16) if self.dtype == "float16" else out  # OpenCV has no tables of float16
        for frame, tensor in zip(frames, bits, strict=True):
            if self.layout == "nchw":
                self._write_planes(frame, tensor)
            else:
                self._write_pixels(frame, tensor)

    def _write_planes(self, frame: npt.NDArray[np.uint8], tensor: Tensor) -> None:
        for channel in range(3):
            source = 2 - channel if self.colours == "rgb" else channel
            if self.dtype == "uint8":
                cv2.extractChannel(frame, source, tensor[channel])
            else:
                cv2.LUT(cv2.extractChannel(frame, source), _table(self)[channel], tensor[channel])

    def _write_pixels(self, frame: npt.NDArray[np.uint8], tensor: Tensor) -> None:
        if self.colours == "rgb":
            frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)  # type: ignore[assignment]
        if self.dtype == "uint8":
            np.copyto(tensor, frame)
        else:
            cv2.LUT(frame, np.ascontiguousarray(_table(self).T)[None], tensor)


@functools.lru_cache(maxsize=8)
def _table(form: InputForm) -> Tensor:
    """Return what each pixel value of each channel becomes, [3, 256]; float16 as its bits, uint16."""
    pixels = np.arange(256, dtype=np.float64)
    mean, std = (np.array(values, np.float64)[:, None] for values in (form.mean, form.std))
    table = ((pixels / form.divisor - mean) / std).astype(form.dtype)
    return np.asarray(table.view(np.uint16) if form.dtype == "float16" else table)


def _list(values: tuple[float, ...]) -> str:
    return f"[{', '.join(f'{value:g}' for value in values)}]" if len(set(values)) > 1 else f"{values[0]:g}"
