"""Label pictures: class indices in and out, and labels drawn in colours."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgefsa.artifacts import atomic_file
from edgefsa.errors import InputError, SourceError
from edgefsa.media.frames import Mask
from edgefsa.media.orientation import check_convention, orientation_from_exif, upright
from edgefsa.media.pictures import as_stored, opened, raw_mode, read_bytes

# Pillow stretches grey values of fewer bits to 0..255: what one step of the stored value became.
_STEP_OF_RAW_MODE = {"L;2": 85, "L;4": 17}


def read_label(path: str | Path, *, orientation: str = "exif") -> Mask:
    """Read a picture of class indices, grey or with a palette, as uint8 [H, W] of the stored indices.

    `orientation` "exif" turns it as its file says, "raw" takes it as it is stored. Raises SourceError where the file
    is missing, damaged, holds colours or indices above 255, or is a JPEG, whose indices are not those that were drawn.
    """
    check_convention(orientation)
    with opened(path, read_bytes(path)) as image:
        _check_is_label(path, image)
        step = _STEP_OF_RAW_MODE.get(raw_mode(image), 1)
        turn = orientation_from_exif(image.getexif())
        values = np.asarray(image)
    largest = int(values.max())
    if largest > 255 or int(values.min()) < 0:
        raise SourceError(f"{path} holds the index {largest}; a label has class indices of 0 to 255")
    label = as_stored(values.astype(np.uint8) // np.uint8(step), image, turn)
    return upright(label, turn) if orientation == "exif" else label


def read_label_colours(path: str | Path, *, orientation: str = "exif") -> npt.NDArray[np.uint8]:
    """Read a label drawn in colours, or with a palette, as uint8 [H, W, 3] in R, G, B order.

    Raises SourceError where the file is missing, damaged, or is a JPEG, whose colours are not those that were drawn.
    """
    check_convention(orientation)
    with opened(path, read_bytes(path)) as image:
        _check_is_exact(path, image)
        turn = orientation_from_exif(image.getexif())
        coloured = image.convert("RGBA") if image.has_transparency_data else image
        colours = as_stored(np.asarray(coloured.convert("RGB")), image, turn)
    return upright(colours, turn) if orientation == "exif" else colours


def write_label(path: str | Path, mask: Mask, palette_rgb: Sequence[tuple[int, int, int]]) -> Path:
    """Write class indices uint8 [H, W] as an indexed PNG, whole or not at all (see `indexed_png`)."""
    data = indexed_png(mask, palette_rgb)
    with atomic_file(path) as partial:
        partial.write_bytes(data)
    return Path(path)


def indexed_png(mask: Mask, palette_rgb: Sequence[tuple[int, int, int]]) -> bytes:
    """Encode class indices uint8 [H, W] as an 8-bit palette PNG: viewers show colours, the pixels stay indices.

    Indices beyond the palette (an ignored class, say) are shown black.
    """
    if mask.ndim != 2 or mask.dtype != np.uint8 or mask.size == 0:
        raise InputError(f"a mask is uint8 [H, W], not {mask.dtype} {list(mask.shape)}; give class indices")
    if not 0 < len(palette_rgb) <= 256:
        raise InputError(f"a palette has 1 to 256 colours, not {len(palette_rgb)}; give one colour for each class")
    # With 16 colours or fewer Pillow would pack two indices into a byte, which not every reader takes.
    colours = np.zeros((max(len(palette_rgb), int(mask.max()) + 1, 17), 3), np.uint8)
    colours[: len(palette_rgb)] = palette_rgb
    image = Image.fromarray(np.ascontiguousarray(mask))
    image.putpalette(colours.tobytes())
    encoded = io.BytesIO()
    image.save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def _check_is_label(path: str | Path, image: Image.Image) -> None:
    _check_is_exact(path, image)
    if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
        height, width = image.height, image.width
        raise SourceError(
            f"{path} holds {image.mode} pixels [{height}, {width}, {len(image.getbands())}]; "
            "a label has one class index a pixel (a grey or palette PNG)"
        )


def _check_is_exact(path: str | Path, image: Image.Image) -> None:
    if image.format in ("JPEG", "MPO"):
        raise SourceError(f"{path} is a JPEG, whose compression changes class indices; export the label as PNG")
