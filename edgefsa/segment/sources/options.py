"""How a source is played, and what is asked of a camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgefsa.errors import InputError
from edgefsa.media.depth import check_bits
from edgefsa.media.orientation import check_convention

FLIPS = ("h", "v", "180")


@dataclass(frozen=True)
class SourceOptions:
    """What `open_source` heeds beside the source itself; InputError for a value that cannot be.

    Files: `loop` plays them again and again, and `rate` as a camera of so many frames a second would, which makes the
    source live. Any source: `flip` mirrors left and right ("h"), top and bottom ("v"), or both ("180"), and `skip`
    leaves out so many frames after each one taken. Cameras are asked for `camera_size_hw`, `camera_fps` and
    `camera_format` (a FourCC: "MJPG", "YUYV"). `orientation` ("exif" or "raw") and `bits` (of 16-bit values) are for
    pictures: see `media.pictures.read_picture`.
    """

    loop: bool = False
    rate: float | None = None
    flip: str | None = None
    skip: int = 0
    camera_size_hw: tuple[int, int] | None = None
    camera_fps: float | None = None
    camera_format: str | None = None
    orientation: str = "exif"
    bits: int | None = None

    def __post_init__(self) -> None:
        check_convention(self.orientation), check_bits(self.bits)
        for flag, rate in (("--rate", self.rate), ("--camera-fps", self.camera_fps)):
            if rate is not None and not (rate > 0 and math.isfinite(rate)):
                raise InputError(f"{flag} {rate:g} is no number of frames a second; give one above 0, as {flag} 30")
        if self.flip is not None and self.flip not in FLIPS:
            raise InputError(f"--flip {self.flip} is unknown; use {', '.join(FLIPS)}")
        if self.skip < 0:
            raise InputError(f"--skip {self.skip} is below 0; give how many frames to leave out after each one taken")
        if self.camera_size_hw is not None and min(self.camera_size_hw) < 1:
            raise InputError(f"no camera has {self.camera_size_hw} rows and columns; give more than 0 of each")
        code = self.camera_format
        if code is not None and not (len(code) == 4 and code.isascii() and code.isprintable()):
            raise InputError(f"--camera-format {code} is no code of four characters; write MJPG or YUYV, for example")

    def refuse_for(self, whom: str, *names: str) -> None:
        """Raise InputError where one of these options is set, for a source that they mean nothing to."""
        for name in names:
            if getattr(self, name) != getattr(SourceOptions, name):
                flag = "--" + name.removesuffix("_hw").replace("_", "-")
                raise InputError(f"{flag} means nothing for {whom}; leave it out")
