"""HEIC and AVIF pictures by FFmpeg."""

from __future__ import annotations

from pathlib import Path

from edgefsa.errors import SourceError
from edgefsa.media.frames import Frame

_BRANDS = {b"avif": "avif", b"avis": "avif", b"heic": "heic", b"heix": "heic", b"mif1": "heic", b"heim": "heic"}


def heif_brand(data: bytes) -> str | None:
    """Return "avif" or "heic" for the first bytes of such a picture, else None."""
    return _BRANDS.get(data[8:12]) if data[4:8] == b"ftyp" else None


def read_heif(path: str | Path, data: bytes) -> tuple[Frame, int]:
    """Decode."""
    raise SourceError(f"{path} cannot be decoded")
