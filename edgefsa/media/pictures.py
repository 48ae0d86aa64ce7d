"""Picture files: read as frames with what was done to them, and written whole.

Pillow reads what has up to 8 bits a value, OpenCV what has 16, FFmpeg the HEIF family that Pillow does not know.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError, features

from edgefsa.artifacts import atomic_file
from edgefsa.errors import InputError, SourceError
from edgefsa.media.depth import bits_for, check_bits, eight_bits
from edgefsa.media.frames import Frame, Mask
from edgefsa.media.heif import heif_brand, read_heif
from edgefsa.media.orientation import check_convention, orientation_from_exif, turned_back, upright
from edgefsa.media.quiet import quiet_opencv

WRITTEN_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
IMAGE_SUFFIXES = (*WRITTEN_SUFFIXES, ".avif", ".heic", ".heif")

# What Pillow raises on damaged files, by format: its own, zlib's and those of its parsers.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, Image.DecompressionBombError)
# Pillow warns of damage that is then an error of ours, on a thread of its caller's: no filter for one block would do.
warnings.filterwarnings("ignore", module=r"PIL\.")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_MAGIC = (_PNG_SIGNATURE, b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"BM")
_FILES_FOR_BITS = 32


@dataclass(frozen=True)
class Picture:
    """A frame read from a file, uint8 [H, W, 3] BGR, and what a user may want to know of it.

    `orientation` is the file's own, EXIF's 1 to 8; the frame is `turned` by it unless it was read raw. `bits` are
    the bits a value that were read, 8 or more; `notes` say in words what was left out or guessed.
    """

    frame: Frame
    orientation: int = 1
    turned: bool = False
    bits: int = 8
    notes: tuple[str, ...] = ()


def read_picture(path: str | Path, *, orientation: str = "exif", bits: int | None = None) -> Picture:
    """Read an image file of any kind that people have.

    Grey and palettes give three channels, CMYK is converted, transparency is left out, the first of several pages
    is taken. `orientation` "exif" turns it upright, "raw" does not. `bits` are those that a 16-bit file uses of
    each value; None takes the fewest that hold this file's largest one (see `value_bits` for a whole folder).
    Raises SourceError that says what is wrong with this file: missing, empty, cut short, 32 bits or float, a value
    beyond `bits`.
    """
    check_convention(orientation), check_bits(bits)
    stored = _decode(path, bits)
    turned = orientation == "exif" and stored.orientation != 1
    if not turned:
        return stored
    note = "turned upright by EXIF orientation; --orientation raw takes the pixels as they are stored"
    frame = upright(stored.frame, stored.orientation)
    return replace(stored, frame=frame, turned=True, notes=(*stored.notes, note))


def read_image(path: str | Path, *, orientation: str = "exif", bits: int | None = None) -> Frame:
    """Read an image file as uint8 [H, W, 3] BGR: the frame of `read_picture`."""
    return read_picture(path, orientation=orientation, bits=bits).frame


def value_bits(paths: Iterable[str | Path]) -> int | None:
    """Guess how many bits a value the 16-bit files among `paths` use; None where there are none.

    The largest value of at most 32 of them, spread evenly, decides; `read_picture` checks every other against it.
    Files that cannot be read are left to `read_picture`.
    """
    deep = [path for path in paths if _is_deep_file(path)]
    count = min(len(deep), _FILES_FOR_BITS)
    largest = -1
    for path in (deep[index * len(deep) // count] for index in range(count)):
        with contextlib.suppress(SourceError):
            largest = max(largest, int(_decode_deep(path, read_bytes(path)).max()))
    return bits_for(largest) if largest >= 0 else None


def is_picture(path: Path) -> bool:
    """Return whether a file is a picture rather than a video, by its suffix or its first bytes."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return True
    with contextlib.suppress(OSError), path.open("rb") as file:
        head = file.read(32)
        return head.startswith(_MAGIC) or heif_brand(head) is not None
    return False


def write_image(path: str | Path, image: Frame | Mask) -> Path:
    """Write BGR uint8 [H, W, 3] (or grey [H, W]) whole or not at all; the suffix picks the format."""
    path = Path(path)
    if path.suffix.lower() not in WRITTEN_SUFFIXES:
        raise InputError(f"{path.name}: cannot write that format; use one of {', '.join(WRITTEN_SUFFIXES)}")
    data = _encode(path.suffix.lower(), image)
    with atomic_file(path) as partial:
        partial.write_bytes(data)
    return path


def read_bytes(path: str | Path) -> bytes:
    """Read a file that should hold a picture; SourceError where it is missing, unreadable or empty."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise SourceError(f"cannot read {path}: {reason.lower()}; check the path") from error
    if not data:
        raise SourceError(f"{path} is empty (0 bytes); copy the file again")
    return data


@contextlib.contextmanager
def opened(path: str | Path, data: bytes) -> Iterator[Image.Image]:
    """Yield Pillow's image of `data`, not yet decoded; damage found here or inside the block raises SourceError."""
    try:
        if data.startswith(_PNG_SIGNATURE):
            if _PNG_END not in data:
                raise OSError("its end is missing")
            with Image.open(io.BytesIO(data)) as image:
                image.verify()  # the checksums of all chunks, which decoding skips
        with Image.open(io.BytesIO(data)) as image:
            yield image
    except SourceError:
        raise
    except UnidentifiedImageError as error:
        raise SourceError(_unknown(path, data)) from error
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise SourceError(f"{path} is damaged or cut short ({reason}); copy or export it again") from error


def raw_mode(image: Image.Image) -> str:
    """Return Pillow's name for the values as the file stores them, "RGB;16B" for instance; before decoding only.

    Its `mode` does not tell: 16-bit colours are shortened to 8 bits, grey of 2 or 4 bits is stretched to 8.
    """
    arguments = image.tile[0][3] if image.tile else ""
    return str(arguments if isinstance(arguments, str) else arguments[0])


def as_stored(pixels: npt.NDArray[np.uint8], image: Image.Image, orientation: int) -> npt.NDArray[np.uint8]:
    """Return decoded pixels as the file stores them: the decoders of TIFF alone turn them."""
    return turned_back(pixels, orientation) if image.format == "TIFF" else pixels


def _is_deep(image: Image.Image) -> bool:
    return "16" in raw_mode(image)


def _decode(path: str | Path, bits: int | None) -> Picture:
    data = read_bytes(path)
    brand = heif_brand(data)
    if brand is not None and not (brand == "avif" and features.check("avif")):
        frame, orientation = read_heif(path, data)
        return Picture(frame, orientation)
    with opened(path, data) as image:
        deep = _is_deep(image)
        orientation = orientation_from_exif(image.getexif())
        if image.mode in ("I", "F"):
            raise SourceError(_wide(path, np.asarray(image)))
        if deep:
            shortened = _shortened(path, data, bits)
            return replace(shortened, frame=as_stored(shortened.frame, image, orientation), orientation=orientation)
        pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        notes = [f"the first of {pages} pages is taken"] if pages > 1 else []
        frame, transparent = _bgr(image)
        notes += ["transparency is left out"] if transparent else []
        return Picture(as_stored(frame, image, orientation), orientation, notes=tuple(notes))


def _bgr(image: Image.Image) -> tuple[Frame, bool]:
    """Decode to uint8 [H, W, 3] BGR; true where some pixels are transparent."""
    transparent = False
    if image.has_transparency_data:
        image = image.convert("RGBA")
        transparent = image.getextrema()[3][0] < 255  # type: ignore[index]
    rgb = image if image.mode == "RGB" else image.convert("RGB")  # which copies what is RGB already
    frame: Frame = cv2.cvtColor(np.asarray(rgb), cv2.COLOR_RGB2BGR).astype(np.uint8, copy=False)
    return frame, transparent


def _shortened(path: str | Path, data: bytes, bits: int | None) -> Picture:
    values = _decode_deep(path, data)
    largest = int(values.max())
    used = bits or bits_for(largest)
    if largest >= 1 << used:
        raise SourceError(
            f"{path} holds the value {largest}, but its pictures were taken for {used} bits a value "
            f"(0 to {(1 << used) - 1}); give --bits {bits_for(largest)}"
        )
    notes = [f"16-bit values are read as {used} bits (0 to {(1 << used) - 1}); --bits N says otherwise"]
    if values.ndim == 3 and values.shape[2] == 4:
        notes += ["transparency is left out"] if int(values[..., 3].min()) < 65535 else []
        values = values[..., :3]
    short = eight_bits(values, used)
    frame = cv2.cvtColor(short, cv2.COLOR_GRAY2BGR) if short.ndim == 2 else np.ascontiguousarray(short)
    return Picture(frame.astype(np.uint8, copy=False), bits=used, notes=tuple(notes))


def _decode_deep(path: str | Path, data: bytes) -> npt.NDArray[np.uint16]:
    """Decode a 16-bit file: uint16 [H, W], [H, W, 3] BGR or [H, W, 4]."""
    values = _opencv_values(data)
    if values is None:
        raise SourceError(f"{path} is damaged or cut short; copy or export it again")
    if values.dtype != np.uint16:
        raise SourceError(_wide(path, values))
    return values


def _opencv_values(data: bytes) -> npt.NDArray[Any] | None:
    try:
        with quiet_opencv():
            values: npt.NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # larger than OpenCV allows, or a damaged header
        return None
    return values


def _is_deep_file(path: str | Path) -> bool:
    """Return whether a PNG or TIFF file has 16 bits a value, by its header."""
    if Path(path).suffix.lower() not in (".png", ".tif", ".tiff"):
        return False
    with contextlib.suppress(*_DAMAGE), Image.open(path) as image:
        return _is_deep(image)
    return False


def _unknown(path: str | Path, data: bytes) -> str:
    """Say what a file holds that Pillow does not know."""
    values = _opencv_values(data) if data[:4] in (b"II*\x00", b"MM\x00*") else None
    if values is not None:
        return _wide(path, values)
    if data.startswith(_MAGIC) or heif_brand(data) is not None or data[8:12] == b"WEBP":
        return f"{path} is damaged or cut short (its header cannot be read); copy or export it again"
    return f"{path} is not a picture (it begins with {data[:12]!r}); check what the file is"


def _wide(path: str | Path, values: npt.NDArray[Any]) -> str:
    low, high = np.nanmin(values), np.nanmax(values)
    return (
        f"{path} holds {values.dtype} values from {low:.6g} to {high:.6g}, which do not say what is black and white; "
        "scale them to 8 or 16 bits"
    )


def _encode(suffix: str, image: npt.NDArray[np.uint8]) -> bytes:
    try:
        done, encoded = cv2.imencode(suffix, image)
    except cv2.error:
        done = False
    if not done:
        raise InputError(f"cannot encode an image of shape {list(image.shape)} as {suffix}; give one with pixels")
    return bytes(encoded)
