"""Frames that say their number: 16 upright bars, black for 0 and white for 1, the highest bit at the left.

Plain Python, for the system's interpreter runs the RTSP server and has no NumPy.
"""

from __future__ import annotations

BITS = 16
_BLACK, _WHITE, _GREY = 16, 235, 128


def i420(number: int, width: int, height: int) -> bytes:
    """Return a frame as planes Y, U, V of 8 bits, limited range; width and height even, at least 16 wide."""
    row = bytes(_WHITE if number >> (BITS - 1 - x * BITS // width) & 1 else _BLACK for x in range(width))
    return row * height + bytes([_GREY]) * (width * height // 2)


def number_of(frame) -> int | None:
    """Read the number back from uint8 [H, W, 3]; None where a bar is neither black nor white from top to bottom."""
    height, width = frame.shape[:2]
    number = 0
    for bit in range(BITS):
        centre = (2 * bit + 1) * width // (2 * BITS)
        bar = frame[height // 8 : height - height // 8, centre]
        low, high = int(bar.min()), int(bar.max())
        if not (high < 64 or low > 191):
            return None
        number = number * 2 + (low > 191)
    return number
