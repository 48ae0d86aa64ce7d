"""Random views of a frame and its label: scale, crop, flip, colour. Image and label move together.

Rare classes may be shown more often than chance does: by views that are placed on them, and by pasting their pixels
from other frames (as ClassMix does with half of all classes: Olsson et al., WACV 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgefsa.media.frames import Frame, Mask, resize_frame, resize_mask

# How strongly light and colours are changed, in fields of Augmentation.
JITTER: Mapping[str, Mapping[str, float]] = {
    "normal": {},
    "strong": {"gain": 0.5, "gamma": 0.6, "tint": 0.15, "saturation": 0.8, "blur": 0.3},
}


@dataclass(frozen=True)
class Augmentation:
    """How strongly a sample is changed.

    `scale`: lowest and highest zoom, drawn evenly in its logarithm; 2 shows objects at twice their size.
    `flip`: probability of mirroring left and right. `gain`, `gamma`, `tint`, `saturation`: largest
    relative change of contrast, of the gamma exponent, of each colour channel alone, and of the
    colours' distance from grey. `offset`: largest change of brightness in grey levels (0 to 255).
    `blur`: probability of a slight Gaussian blur. `rare`: probability that a view is placed on a pixel of a rare class
    of the frame. `paste`: probability that the rare classes of another frame are pasted in.
    """

    scale: tuple[float, float] = (0.5, 2.0)
    flip: float = 0.5
    gain: float = 0.35
    gamma: float = 0.3
    tint: float = 0.1
    saturation: float = 0.5
    offset: float = 30.0
    blur: float = 0.15
    rare: float = 0.0
    paste: float = 0.0


def augment(
    frame: Frame,
    label: Mask,
    crop_hw: tuple[int, int],
    ignore_index: int,
    settings: Augmentation,
    rng: np.random.Generator,
    rare_classes: Sequence[int] = (),
) -> tuple[Frame, Mask]:
    """Return a random view of `crop_hw` pixels.

    frame: uint8 [H, W, 3] BGR; label: uint8 [H, W]. Where the view reaches over the frame's edge the
    pixels are grey (128) and the label is `ignore_index`. Equal generators give equal views.
    """
    zoom = float(np.exp(rng.uniform(*np.log(settings.scale))))
    window_hw = (max(1, round(crop_hw[0] / zoom)), max(1, round(crop_hw[1] / zoom)))
    shown = _rare_pixel(label, rare_classes, rng) if settings.rare and rng.random() < settings.rare else (None, None)
    sides = zip(label.shape, window_hw, shown, strict=True)
    top, left = (_window_start(size, window, rng, pixel) for size, window, pixel in sides)
    frame = resize_frame(_cut(frame, top, left, window_hw, 128), crop_hw)
    label = resize_mask(_cut(label, top, left, window_hw, ignore_index), crop_hw)
    if rng.random() < settings.flip:
        frame, label = frame[:, ::-1], label[:, ::-1]
    return jitter_colour(np.ascontiguousarray(frame), settings, rng), np.ascontiguousarray(label)


def jitter_colour(frame: Frame, settings: Augmentation, rng: np.random.Generator) -> Frame:
    """Change gamma, contrast (about the mean), brightness, tint and saturation of uint8 [H, W, 3] BGR at random."""
    gain = 1 + rng.uniform(-settings.gain, settings.gain)
    offset = rng.uniform(-settings.offset, settings.offset)
    gamma = np.exp(rng.uniform(-settings.gamma, settings.gamma))
    tint = 1 + rng.uniform(-settings.tint, settings.tint, size=3)
    keep = 1 + rng.uniform(-settings.saturation, settings.saturation)
    levels = 255 * (np.arange(256) / 255) ** gamma
    # About the mean, not about middle grey, which would turn the dark half of a frame at dusk into plain black.
    mean = _counts(frame) @ levels / frame.size
    tones = ((levels - mean) * gain + mean + offset)[:, None] * tint
    frame = cv2.LUT(frame, np.clip(tones, 0, 255).round().astype(np.uint8)[None])
    grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    frame = cv2.addWeighted(frame, keep, grey, 1 - keep, 0)
    if rng.random() < settings.blur:
        frame = cv2.GaussianBlur(frame, (0, 0), rng.uniform(0.4, 1.2))
    return frame.astype(np.uint8, copy=False)


def paste_classes(
    frame: Frame, label: Mask, donor: Frame, donor_label: Mask, classes: Sequence[int], rng: np.random.Generator
) -> tuple[Frame, Mask]:
    """Return copies of frame and label with the donor's pixels of `classes` at their own places.

    frame, donor: uint8 [H, W, 3] BGR; labels: uint8 [H, W]. The donor is resized to the frame's size, and mirrored at
    random. Places are kept, since a class has its own heights in the view of a camera.
    """
    size = (label.shape[0], label.shape[1])
    donor, donor_label = resize_frame(donor, size), resize_mask(donor_label, size)
    if rng.random() < 0.5:
        donor, donor_label = cv2.flip(donor, 1), cv2.flip(donor_label, 1)  # type: ignore[assignment]
    chosen = np.zeros(256, np.uint8)
    chosen[list(classes)] = 255
    mask = cv2.LUT(donor_label, chosen)
    return cv2.copyTo(donor, mask, frame.copy()), cv2.copyTo(donor_label, mask, label.copy())  # type: ignore[return-value]


def _counts(pixels: Frame | Mask) -> npt.NDArray[np.float32]:
    """Return how often each value occurs in uint8 [H, W] or [H, W, C], float32 [256] (bincount copies to int64)."""
    flat = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1)
    return cv2.calcHist([flat], [0], None, [256], [0, 256]).ravel()  # type: ignore[no-any-return]


def _rare_pixel(label: Mask, classes: Sequence[int], rng: np.random.Generator) -> tuple[int, int] | tuple[None, None]:
    """Return a pixel (row, column) of one of the classes, each that occurs being as likely; Nones where none does."""
    present = np.flatnonzero(_counts(label)[list(classes)])
    if not present.size:
        return None, None
    places = np.flatnonzero(label.ravel() == classes[int(rng.choice(present))])
    row, column = divmod(int(rng.choice(places)), label.shape[1])
    return row, column


def _window_start(size: int, window: int, rng: np.random.Generator, pixel: int | None) -> int:
    """Place a window inside the image, or the image inside a larger window (then negative); over `pixel` if set."""
    low, high = sorted((0, size - window))
    if pixel is not None and window < size:
        low, high = max(low, pixel - window + 1), min(high, pixel)
    return int(rng.integers(low, high + 1))


def _cut(image: Frame, top: int, left: int, window_hw: tuple[int, int], fill: int) -> Frame:
    out = np.full((*window_hw, *image.shape[2:]), fill, np.uint8)
    height, width = image.shape[:2]
    rows = slice(max(top, 0), min(top + window_hw[0], height))
    columns = slice(max(left, 0), min(left + window_hw[1], width))
    out[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = image[rows, columns]
    return out
