"""PNG files taken apart by their specification."""

from __future__ import annotations

import struct
import zlib


def chunks_of(data: bytes) -> dict[bytes, bytes]:
    """Parse a PNG by its specification: each chunk's CRC is checked, IDAT bodies are joined."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    position, found = 8, {}
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        (crc,) = struct.unpack_from(">I", data, position + 8 + length)
        assert crc == zlib.crc32(kind + body), kind
        found[kind] = found.get(kind, b"") + body
        position += 12 + length
    return found
