"""Frames of a fair day as the same camera would take them at night, in rain, in fog, or while it shakes.

They stand in for frames that nobody has recorded yet: a calibration on them keeps ranges open for what comes, and
shows what an engine makes of it. Frames that were recorded at night are better than any made so.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from edgefsa.data.synthetic.effects import CameraLook, add_rain, photograph
from edgefsa.errors import InputError
from edgefsa.media.frames import Frame, FrameSet

_GREY = (205.0, 206.0, 208.0)
_USUAL_HEIGHT = 360


@dataclass(frozen=True)
class UnderCondition:
    """The frames of another set under a condition, a name of CONDITIONS; the same each time."""

    frames: FrameSet
    condition: str

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, index: int) -> Frame:
        """Return the frame of that number under the condition."""
        return under_condition(self.frames.frame(index), self.condition, index)


def under_condition(frame: Frame, condition: str, seed: int = 0) -> Frame:
    """Return uint8 [H, W, 3] BGR under a condition, a name of CONDITIONS; equal seeds give equal frames."""
    rng = np.random.default_rng([seed, zlib.crc32(condition.encode())])
    return CONDITIONS[condition](frame, rng)


def conditions_from_text(text: str | None, flag: str = "--augment") -> tuple[str, ...]:
    """Read "night,rain"; InputError for a condition that there is not. None has none."""
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    for name in names:
        if name not in CONDITIONS:
            raise InputError(f"{flag} {text}: {name!r} is no condition; choose from {', '.join(CONDITIONS)}")
    return tuple(dict.fromkeys(names))


def _night(frame: Frame, rng: np.random.Generator) -> Frame:
    """Little light, few colours, much noise; what was brightest is lit."""
    picture = frame.astype(np.float32)
    picture *= np.square(picture / 255) * np.float32(0.65) + np.float32(0.35)
    look = CameraLook(
        exposure=float(rng.uniform(0.45, 0.75)),
        contrast=1.0,
        balance=(1.08, 1.0, 0.94),
        saturation=float(rng.uniform(0.35, 0.6)),
        vignette=float(rng.uniform(0.3, 0.6)),
        blur=0.6,
        noise=float(rng.uniform(6.0, 12.0)),
    )
    return photograph(picture, look, rng)


def _rain(frame: Frame, rng: np.random.Generator) -> Frame:
    """Streaks, a grey veil, drops that soften the picture."""
    picture = frame.astype(np.float32)
    picture += (np.array(_GREY, np.float32) - picture) * np.float32(rng.uniform(0.15, 0.3))
    add_rain(picture, float(rng.uniform(1.5, 2.5)), rng)
    look = CameraLook(
        exposure=float(rng.uniform(0.7, 0.9)),
        contrast=1.0,
        balance=(1.03, 1.0, 0.98),
        saturation=0.7,
        vignette=0.2,
        blur=float(rng.uniform(0.6, 1.0)) * frame.shape[0] / _USUAL_HEIGHT,
        noise=float(rng.uniform(3.0, 6.0)),
    )
    return photograph(picture, look, rng)


def _fog(frame: Frame, rng: np.random.Generator) -> Frame:
    """A veil, thickest in the upper half, where the street is far."""
    rows = np.linspace(0, 1, frame.shape[0], dtype=np.float32)
    lost = np.float32(rng.uniform(0.65, 0.85)) * (1 - np.square(np.clip((rows - 0.4) / 0.6, 0, 1)) * 0.7)
    picture = frame.astype(np.float32)
    picture += (np.array(_GREY, np.float32) - picture) * lost[:, None, None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _blur(frame: Frame, rng: np.random.Generator) -> Frame:
    """A lens out of focus on a moving camera: one smear along a line."""
    scale = frame.shape[0] / _USUAL_HEIGHT
    length = max(3, round(float(rng.uniform(7, 15)) * scale)) | 1
    angle = float(rng.uniform(-20, 20))
    line = np.zeros((length, length), np.float32)
    line[length // 2] = 1.0
    line = cv2.warpAffine(line, cv2.getRotationMatrix2D((length // 2, length // 2), angle, 1.0), (length, length))
    smeared = cv2.filter2D(frame, -1, line / line.sum(), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.GaussianBlur(smeared, (0, 0), float(rng.uniform(0.8, 1.6)) * scale), np.uint8)


CONDITIONS: dict[str, Callable[[Frame, np.random.Generator], Frame]] = {
    "night": _night,
    "rain": _rain,
    "fog": _fog,
    "blur": _blur,
}
