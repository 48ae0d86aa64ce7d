"""The canvas: colours and surfaces painted together, so that a label has exactly the picture's geometry.

It is four channels of 8 bits at twice the final resolution: blue, green, red, and the surface's number. A surface
has a class, a material, and the plane that gives its depth, so one drawing call settles colour, label and depth.
"""

from __future__ import annotations

import math
from enum import IntEnum

import cv2
import numpy as np
import numpy.typing as npt

from edgefsa.data.synthetic.camera import Plane, Points
from edgefsa.data.synthetic.labels import Label

Colour = tuple[float, float, float]
Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

SUPERSAMPLING = 2
_SHIFT = 4
_MAX_SURFACES = 256
_DEPTH_STEPS = 7.0
_FAR: Plane = (0.0, 0.0, 0.0)


class Material(IntEnum):
    """What the ground is made of; PLAIN takes no ground texture and no shadow."""

    PLAIN = 0
    ASPHALT = 1
    PAVING = 2
    GRASS = 3


class Canvas:
    """Pixels uint8 [2 H, 2 W, 4] (B, G, R, surface) for a picture of `size_hw`.

    `classes[i]` is the class of surface i; the first twelve surfaces are the classes themselves, infinitely far away.
    """

    def __init__(self, size_hw: tuple[int, int]) -> None:
        height, width = size_hw
        self.size_hw = size_hw
        self.pixels: Pixels = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING, 4), np.uint8)
        self.classes = list(Label)
        self._planes: list[Plane] = [_FAR] * len(Label)
        self._materials = [Material.PLAIN] * len(Label)
        self._at_depth: dict[tuple[Label, int], int] = {}

    def surface(self, label: Label, plane: Plane, material: Material = Material.PLAIN) -> int:
        """Return a new surface of a class on a plane (see View.plane)."""
        if len(self.classes) == _MAX_SURFACES:
            return self._similar(label, plane)
        self.classes.append(label)
        self._planes.append(plane)
        self._materials.append(material)
        return len(self.classes) - 1

    def surface_at(self, label: Label, depth: float) -> int:
        """Return the surface of a class that faces the camera at a depth in metres (kept to about 15 %)."""
        step = round(_DEPTH_STEPS * math.log(max(depth, 1.0)))
        key = (label, step)
        if key not in self._at_depth:
            self._at_depth[key] = self.surface(label, (math.exp(-step / _DEPTH_STEPS), 0.0, 0.0))
        return self._at_depth[key]

    def fill(self, outline: Points | None, colour: Colour, surface: int) -> None:
        """Fill a polygon of pixels [N, 2]."""
        if outline is not None:
            cv2.fillPoly(self.pixels, [fixed_point(outline)], (*colour, surface), cv2.LINE_8, _SHIFT)

    def fill_all(self, outlines: Points, colour: Colour, surface: int) -> None:
        """Fill polygons [N, corners, 2] that don't overlap."""
        if len(outlines):
            cv2.fillPoly(self.pixels, list(fixed_point(outlines)), (*colour, surface), cv2.LINE_8, _SHIFT)

    def line(self, ends: Points, width: float, colour: Colour, surface: int) -> None:
        """Draw a line with round ends through the pixels [N, 2]."""
        thickness = max(1, round(width))
        cv2.polylines(self.pixels, [fixed_point(ends)], False, (*colour, surface), thickness, cv2.LINE_8, _SHIFT)

    def disc(self, centre: Points, radius: float, colour: Colour, surface: int) -> None:
        """Fill a disc; radius in pixels."""
        u, v = fixed_point(centre)
        cv2.circle(
            self.pixels, (int(u), int(v)), max(8, round(radius * (1 << _SHIFT))), (*colour, surface), -1, 8, _SHIFT
        )

    def veil(self, outline: Points | None, colour: Colour, opacity: float, surface: int) -> None:
        """Fill a polygon with a translucent colour; the surface is all the new one's."""
        found = self._region(outline)
        if found is None:
            return
        region, mask = found
        tint = np.empty_like(region)
        tint[:] = (*colour, 0)
        mixed = cv2.addWeighted(region, 1 - opacity, tint, opacity, 0)
        mixed[..., 3] = surface
        cv2.copyTo(mixed, mask, region)

    def warp(self, texture: Pixels, to_pixels: Points, outline: Points | None, surface: int, light: Colour) -> None:
        """Paint a texture uint8 [h, w, 3] times `light` in a polygon; `to_pixels` maps its pixels to the canvas'."""
        found = self._region(outline)
        if found is None or outline is None:
            return
        region, mask = found
        corner = self._corner(outline)
        texture, shrink = _prefiltered(texture, to_pixels, outline)
        texture = lit_texture(texture, light)
        move = np.array([[1, 0, -corner[0]], [0, 1, -corner[1]], [0, 0, 1.0]])
        matrix = move @ to_pixels @ shrink
        size = (region.shape[1], region.shape[0])
        warped = cv2.warpPerspective(texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        painted = cv2.cvtColor(warped, cv2.COLOR_BGR2BGRA)
        painted[..., 3] = surface
        cv2.copyTo(painted, mask, region)

    def stamp(self, sprite: Pixels, mask: Pixels, corner: tuple[int, int], surface: int) -> None:
        """Copy a sprite uint8 [h, w, 3] where `mask` [h, w] is not 0, its top left at the pixel `corner` (u, v)."""
        left, top = corner
        rows, columns = self.pixels.shape[:2]
        u0, v0, u1, v1 = max(left, 0), max(top, 0), min(left + mask.shape[1], columns), min(top + mask.shape[0], rows)
        if u0 >= u1 or v0 >= v1:
            return
        cut = np.s_[v0 - top : v1 - top, u0 - left : u1 - left]
        painted = cv2.cvtColor(sprite[cut], cv2.COLOR_BGR2BGRA)
        painted[..., 3] = surface
        cv2.copyTo(painted, mask[cut], self.pixels[v0:v1, u0:u1])

    def resolve(self) -> tuple[Floats, Pixels, Floats, Pixels]:
        """Return the picture float32 [H, W, 3], label uint8 [H, W], 1 / depth float32 [H, W] and material [H, W]."""
        height, width = self.size_hw
        picture = cv2.resize(self.pixels, (width, height), interpolation=cv2.INTER_AREA)[..., :3].astype(np.float32)
        numbers = self._numbers()
        planes = np.zeros((_MAX_SURFACES, 3), np.float32)
        planes[: len(self._planes)] = self._planes
        u = np.arange(width, dtype=np.float32) * SUPERSAMPLING
        v = np.arange(height, dtype=np.float32)[:, None] * SUPERSAMPLING
        inverse_depth = planes[numbers, 0] + planes[numbers, 1] * u + planes[numbers, 2] * v
        np.clip(inverse_depth, 0, 1, out=inverse_depth)
        return picture, self._table(self.classes)[numbers], inverse_depth, self._table(self._materials)[numbers]

    def _numbers(self) -> Pixels:
        # A pixel's surface is that of its first sample; where that is sky, any other of its samples goes first, so
        # that thin things keep their label and fade with their own distance.
        planes = self.pixels[..., 3]
        first = planes[::SUPERSAMPLING, ::SUPERSAMPLING]
        rest = np.maximum(np.maximum(planes[1::2, 1::2], planes[::2, 1::2]), planes[1::2, ::2])
        return np.where(first == Label.SKY, rest, first)

    @staticmethod
    def _table(values: list[Label] | list[Material]) -> Pixels:
        table = np.zeros(_MAX_SURFACES, np.uint8)
        table[: len(values)] = values
        return table

    def _similar(self, label: Label, plane: Plane) -> int:
        # All 256 numbers are taken: use the surface of that class whose depth comes nearest.
        same = [index for index, known in enumerate(self.classes) if known == label]
        return min(same, key=lambda index: abs(self._planes[index][0] - plane[0]))

    def _corner(self, outline: Points) -> tuple[int, int]:
        left, top = np.floor(outline.min(axis=0)) - 1
        return max(0, int(left)), max(0, int(top))

    def _region(self, outline: Points | None) -> tuple[Pixels, Pixels] | None:
        if outline is None:
            return None
        rows, columns = self.pixels.shape[:2]
        left, top = self._corner(outline)
        right, bottom = np.ceil(outline.max(axis=0)) + 2
        region = self.pixels[top : min(int(bottom), rows), left : min(int(right), columns)]
        if 0 in region.shape:
            return None
        mask = np.zeros(region.shape[:2], np.uint8)
        cv2.fillPoly(mask, [fixed_point(outline - (left, top))], (255,), cv2.LINE_8, _SHIFT)
        return region, mask


def lit_texture(texture: Pixels, light: Colour) -> Pixels:
    """Multiply the channels of uint8 [h, w, 3] by `light` (B, G, R factors), saturating."""
    table = np.clip(np.arange(256)[:, None] * np.array(light), 0, 255).astype(np.uint8)
    lit: Pixels = cv2.LUT(texture, table[None])
    return lit


def fixed_point(pixels: Points) -> npt.NDArray[np.int32]:
    """Return pixels as OpenCV's drawing takes them: integers in sixteenths."""
    return np.rint(pixels * (1 << _SHIFT)).astype(np.int32)


def _prefiltered(texture: Pixels, to_pixels: Points, outline: Points) -> tuple[Pixels, Points]:
    # A texture seen from afar is averaged down first; otherwise its bricks and windows flicker.
    source = cv2.perspectiveTransform(outline[None], np.linalg.inv(to_pixels))[0]
    covered = np.maximum(np.ptp(source, axis=0), 1e-6)
    seen = np.ptp(outline, axis=0)
    factors = np.minimum(1.0, 1.2 * seen / covered)
    height, width = texture.shape[:2]
    small_width, small_height = max(1, round(width * factors[0])), max(1, round(height * factors[1]))
    if small_width > 0.8 * width and small_height > 0.8 * height:
        return texture, np.eye(3)
    small = cv2.resize(texture, (small_width, small_height), interpolation=cv2.INTER_AREA)
    return small, np.diag([width / small_width, height / small_height, 1.0])
