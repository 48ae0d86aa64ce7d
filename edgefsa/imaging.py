"""The only code that resizes, converts colour, or reads and writes picture files.

Frames are uint8 [H, W, 3] in BGR order, as OpenCV gives them; masks are uint8 [H, W] of class
indices. A frame is resized bilinearly and a mask by nearest neighbour, everywhere.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgefsa.artifacts import atomic_file
from edgefsa.errors import InputError, SourceError

Frame = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def resize_frame(frame: Frame, size_hw: tuple[int, int]) -> Frame:
    """Resize uint8 [H, W, 3] to `size_hw`; the same array where the size already fits."""
    if frame.shape[:2] == tuple(size_hw):
        return frame
    height, width = size_hw
    shrinks = height < frame.shape[0] and width < frame.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(frame, (width, height), interpolation=method).astype(np.uint8, copy=False)


def resize_mask(mask: Mask, size_hw: tuple[int, int]) -> Mask:
    """Resize class indices uint8 [H, W] to `size_hw` by nearest neighbour (no new classes appear)."""
    if mask.shape == tuple(size_hw):
        return mask
    height, width = size_hw
    resized = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return resized.astype(np.uint8, copy=False)


def as_bgr(image: npt.NDArray[np.generic]) -> Frame:
    """Give grey, BGR or BGRA pixels of 8 or 16 bits as uint8 [H, W, 3] in BGR order."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:
        raise InputError(f"pixels are {image.dtype}, not 8 or 16-bit unsigned; convert the image first")
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
    if image.ndim == 3 and image.shape[2] == 4:
        return cv2.cvtColor(image, cv2.COLOR_BGRA2BGR).astype(np.uint8, copy=False)
    if image.ndim == 3 and image.shape[2] == 3:
        return image.astype(np.uint8, copy=False)
    raise InputError(f"an image has shape [H, W], [H, W, 3] or [H, W, 4], not {list(image.shape)}")


def rgb_from_bgr(frame: Frame) -> Frame:
    """Swap the first and last channel of uint8 [H, W, 3]; a contiguous copy."""
    return np.ascontiguousarray(frame[..., ::-1])


def read_image(path: str | Path) -> Frame:
    """Read an image file as uint8 [H, W, 3] BGR, turned upright by its EXIF orientation.

    Raises SourceError where the file is missing, empty, or no image.
    """
    data = _read_bytes(path)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise SourceError(f"{path} is not an image that can be decoded; give a JPEG, PNG, BMP, WebP or TIFF file")
    return as_bgr(image)


def read_label(path: str | Path) -> Mask:
    """Read an 8-bit single-channel PNG of class indices as uint8 [H, W], untouched by any palette."""
    data = _read_bytes(path)
    label = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if label is None:
        raise SourceError(f"{path} is not an image that can be decoded; a label is an 8-bit PNG of class indices")
    if label.ndim != 2 or label.dtype != np.uint8:
        kind = f"{label.dtype} {list(label.shape)}"
        raise SourceError(f"{path} holds {kind}; a label is an 8-bit single-channel PNG of class indices")
    return label


def write_image(path: str | Path, image: Frame | Mask) -> Path:
    """Write BGR uint8 [H, W, 3] (or grey [H, W]) whole or not at all; the suffix picks the format."""
    path = Path(path)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"{path.name}: cannot write that format; use one of {', '.join(IMAGE_SUFFIXES)}")
    done, encoded = cv2.imencode(path.suffix.lower(), image)
    if not done:
        raise SourceError(f"could not encode {path.name}; is the image empty?")
    with atomic_file(path) as partial:
        partial.write_bytes(encoded.tobytes())
    return path


def _read_bytes(path: str | Path) -> npt.NDArray[np.uint8]:
    try:
        return np.frombuffer(Path(path).read_bytes(), np.uint8)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SourceError(f"cannot read {path}: {reason.lower()}; check the path") from error
