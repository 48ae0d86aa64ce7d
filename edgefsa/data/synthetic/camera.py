"""The street's course and the pinhole camera on it.

Road coordinates are (x, y, s) in metres: x to the right of the centre line, y up from the road surface, s along
the centre line. Camera coordinates are (right, up, forward) in metres from the camera. Pixels are (u, v).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
Plane = tuple[float, float, float]

NEAR_M = 0.8
REACH_M = 230.0
_BEHIND_M = 12.0


@dataclass(frozen=True)
class Bend:
    """The centre line: its heading at s is the sum of amplitude * sin(s / length + phase), in radians."""

    terms: tuple[tuple[float, float, float], ...]

    def heading(self, s: Points) -> Points:
        """Return the heading at `s` (positive turns right)."""
        total = np.zeros_like(np.asarray(s, np.float64))
        for amplitude, length, phase in self.terms:
            total = total + amplitude * np.sin(s / length + phase)
        return total

    def path(self, s: Points) -> tuple[Points, Points]:
        """Integrate the centre line over the equally spaced `s`: metres east and north from s[0]."""
        heading = self.heading(s)
        step = s[1] - s[0]
        return _running_sum(np.sin(heading)) * step, _running_sum(np.cos(heading)) * step


@dataclass(frozen=True)
class Lens:
    """A pinhole: focal length, and the pixel of the horizon straight ahead."""

    size_hw: tuple[int, int]
    focal: float
    centre_u: float
    horizon_v: float


@dataclass(frozen=True)
class Pose:
    """A rigid frame in camera coordinates: rows of `axes` are right, up and forward of the object."""

    origin: Points
    axes: Points

    def place(self, local: Points) -> Points:
        """Move points [N, 3] of the object into camera coordinates."""
        return self.origin + local @ self.axes


class View:
    """What the camera at (x, s) on the street sees; `yaw` is its heading relative to the road."""

    def __init__(self, lens: Lens, bend: Bend, x: float, s: float, height: float, yaw: float = 0.0) -> None:
        self.lens = lens
        self.s = s
        self.height = height
        self._first = s - _BEHIND_M
        grid = self._first + np.arange(0.0, REACH_M + 2 * _BEHIND_M, 1.0)
        self.heading = float(bend.heading(np.array([s]))[0]) + yaw
        self._turn = bend.heading(grid) - self.heading
        right, forward = _running_sum(np.sin(self._turn)), _running_sum(np.cos(self._turn))
        self._right = right - np.interp(s, grid, right) - x * np.cos(yaw)
        self._forward = forward - np.interp(s, grid, forward) - x * np.sin(yaw)
        self.east, self.north = _place(bend, s)

    def points(self, x: Points | float, y: Points | float, s: Points | float) -> Points:
        """Return camera coordinates [..., 3] of road coordinates (arrays or numbers that broadcast)."""
        at = np.asarray(s, np.float64) - self._first
        index = np.clip(at.astype(np.int64), 0, len(self._turn) - 2)
        share = at - index
        turn = self._turn[index] + share * (self._turn[index + 1] - self._turn[index])
        right = self._right[index] + share * (self._right[index + 1] - self._right[index])
        forward = self._forward[index] + share * (self._forward[index + 1] - self._forward[index])
        points = np.empty((*np.broadcast(at, x, y).shape, 3))
        points[..., 0] = right + x * np.cos(turn)
        points[..., 1] = y - self.height
        points[..., 2] = forward - x * np.sin(turn)
        return points

    def pose(self, x: float, y: float, s: float, heading: float = 0.0) -> Pose:
        """Return the frame of an object that stands at (x, y, s) and looks along the road, turned by `heading`."""
        turn = float(np.interp(s - self._first, np.arange(len(self._turn)), self._turn)) + heading
        sine, cosine = math.sin(turn), math.cos(turn)
        axes = np.array([[cosine, 0.0, -sine], [0.0, 1.0, 0.0], [sine, 0.0, cosine]])
        return Pose(self.points(x, y, s), axes)

    def project(self, points: Points) -> Points:
        """Return pixels [..., 2] of camera coordinates [..., 3] with forward > 0."""
        pixels = points[..., :2] * (self.lens.focal / points[..., 2:])
        pixels[..., 1] *= -1
        pixels += (self.lens.centre_u, self.lens.horizon_v)
        return pixels

    def scale(self, depth: float) -> float:
        """Pixels a metre at that depth."""
        return self.lens.focal / max(depth, NEAR_M)

    def outline(self, points: Points) -> Points | None:
        """Clip a polygon [N, 3] in camera coordinates at the near plane and project it; None if nothing is left."""
        ahead = points[:, 2] >= NEAR_M
        if not ahead.any():
            return None
        return self.project(points if ahead.all() else _clipped(points, ahead))

    def plane(self, origin: Points, normal: Points) -> Plane:
        """Return (a, b, c) with 1 / depth = a + b u + c v on the plane through `origin`."""
        distance = float(origin @ normal)
        if abs(distance) < 1e-6:
            return (0.0, 0.0, 0.0)
        per_u = float(normal[0]) / (self.lens.focal * distance)
        per_v = -float(normal[1]) / (self.lens.focal * distance)
        return (float(normal[2]) / distance - per_u * self.lens.centre_u - per_v * self.lens.horizon_v, per_u, per_v)

    def homography(self, origin: Points, along: Points, up: Points) -> Points:
        """Return the 3 x 3 matrix from plane coordinates (metres along, metres up) to pixels."""
        lens = self.lens
        intrinsic = np.array([[lens.focal, 0, lens.centre_u], [0, -lens.focal, lens.horizon_v], [0, 0, 1.0]])
        return intrinsic @ np.stack([along, up, origin], axis=1)


def _place(bend: Bend, s: float) -> tuple[float, float]:
    """Where s lies on the map: metres east and north of s = 0."""
    steps = np.linspace(0.0, s, max(2, round(abs(s)) + 1))
    if s == 0:
        return 0.0, 0.0
    east, north = bend.path(steps)
    return float(east[-1]), float(north[-1])


def _clipped(points: Points, ahead: npt.NDArray[np.bool_]) -> Points:
    kept = []
    for index in range(len(points)):
        last = points[index - 1]
        here = points[index]
        if ahead[index] != ahead[index - 1]:
            share = (NEAR_M - last[2]) / (here[2] - last[2])
            kept.append(last + share * (here - last))
        if ahead[index]:
            kept.append(here)
    return np.array(kept)


def _running_sum(values: Points) -> Points:
    # Trapezoid rule with step 1, from 0: smooth in s, so that a drive does not jitter.
    return np.concatenate([[0.0], np.cumsum(0.5 * (values[1:] + values[:-1]))])
