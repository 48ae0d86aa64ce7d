"""Frames and masks as arrays, and how both are resized everywhere.

Frames are uint8 [H, W, 3] in BGR order, as OpenCV gives them; masks are uint8 [H, W] of class
indices. A frame is resized bilinearly and a mask by nearest neighbour, everywhere.
"""

from __future__ import annotations

from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from edgefsa.errors import InputError

Frame = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]


class FrameSet(Protocol):
    """What has frames, uint8 [H, W, 3] BGR, by number."""

    def __len__(self) -> int: ...

    def frame(self, index: int) -> Frame:
        """Return a frame; UnreadableError where its file is damaged."""
        ...


def resize_frame(frame: Frame, size_hw: tuple[int, int], out: Frame | None = None) -> Frame:
    """Resize uint8 [H, W, 3] to `size_hw`; the same array where the size already fits.

    Bilinear, but the mean over areas where both sides shrink to half or less, which bilinear would alias. With `out`,
    uint8 [*size_hw, 3], the result is written there and `out` returned.
    """
    if frame.shape[:2] == tuple(size_hw):
        resized = frame
    else:
        method = cv2.INTER_AREA if means_areas((frame.shape[0], frame.shape[1]), size_hw) else cv2.INTER_LINEAR
        resized = _resize(frame, size_hw, method, out)
    if out is None:
        return resized
    if resized is not out:
        np.copyto(out, resized)
    return out


def means_areas(from_hw: tuple[int, int], to_hw: tuple[int, int]) -> bool:
    """Return whether frames of one size are resized to another by the mean over areas."""
    return 2 * to_hw[0] <= from_hw[0] and 2 * to_hw[1] <= from_hw[1]


def resize_mask(mask: Mask, size_hw: tuple[int, int]) -> Mask:
    """Resize class indices uint8 [H, W] to `size_hw` by nearest neighbour (no new classes appear)."""
    return mask if mask.shape == tuple(size_hw) else _resize(mask, size_hw, cv2.INTER_NEAREST_EXACT)


def _resize(
    image: npt.NDArray[np.uint8], size_hw: tuple[int, int], method: int, out: npt.NDArray[np.uint8] | None = None
) -> npt.NDArray[np.uint8]:
    if 0 in image.shape or min(size_hw) < 1:
        sizes = f"{image.shape[0]}x{image.shape[1]} to {size_hw[0]}x{size_hw[1]}"
        raise InputError(f"cannot resize from {sizes}; height and width must be at least 1")
    resized: npt.NDArray[Any] = cv2.resize(image, (size_hw[1], size_hw[0]), out, interpolation=method)
    return resized.astype(np.uint8, copy=False)
