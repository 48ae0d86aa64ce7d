"""The shapes of cars, vans and buses: a body and a cabin lofted from a side profile, with wheels, glass and lights."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edgefsa.data.synthetic.camera import Points

_END_TAPER = 0.93


@dataclass(frozen=True)
class VehicleModel:
    """Lengths in metres.

    `profile` runs (forward, up) from the front bumper over the roof to the rear bumper: two points for the front,
    the bonnet's edge, the foot of the windscreen, the roof's two ends, the foot of the rear window, two for the rear.
    `axles` are the forward places of the wheels, `wheel` their radius, `belt` the height of the windows' lower edge,
    `roof` the roof's width as a share of `width`, `pillars` the forward places of the window posts.
    """

    profile: tuple[tuple[float, float], ...]
    width: float
    axles: tuple[float, float]
    wheel: float
    belt: float
    roof: float
    pillars: tuple[float, ...]
    panelled: bool = False  # a van's load space has no side windows

    @property
    def lamps(self) -> Points:
        """The head lamps, then the tail lamps: [4, 3] (right, up, forward)."""
        x = self.width * 0.39
        (front_z, front_y), (rear_z, rear_y) = self.profile[1], self.profile[-2]
        front, rear = (front_y * 0.88, front_z + 0.05), (rear_y * 0.82, rear_z - 0.05)
        return np.array([(-x, *front), (x, *front), (-x, *rear), (x, *rear)])


_COWL, _TAIL = 3, 6  # where in the profile the windscreen begins and the rear window ends

MODELS: dict[str, VehicleModel] = {
    "hatchback": VehicleModel(
        profile=(
            (1.98, 0.26), (2.02, 0.60), (1.82, 0.80), (0.98, 0.98), (0.15, 1.44),
            (-1.20, 1.46), (-1.82, 1.02), (-1.95, 0.90), (-1.96, 0.30),
        ),
        width=1.74, axles=(1.25, -1.22), wheel=0.31, belt=0.94, roof=0.80, pillars=(-0.42, -1.18),
    ),
    "city car": VehicleModel(
        profile=(
            (1.70, 0.26), (1.74, 0.62), (1.56, 0.82), (0.95, 1.00), (0.28, 1.48),
            (-1.25, 1.52), (-1.66, 1.04), (-1.72, 0.90), (-1.72, 0.30),
        ),
        width=1.60, axles=(1.12, -1.12), wheel=0.29, belt=0.97, roof=0.82, pillars=(-0.30,),
    ),
    "saloon": VehicleModel(
        profile=(
            (2.25, 0.25), (2.30, 0.58), (2.10, 0.76), (1.02, 0.95), (0.20, 1.40),
            (-0.95, 1.41), (-1.62, 1.02), (-2.20, 0.98), (-2.28, 0.30),
        ),
        width=1.78, axles=(1.38, -1.35), wheel=0.32, belt=0.92, roof=0.78, pillars=(-0.32, -1.02),
    ),
    "estate": VehicleModel(
        profile=(
            (2.25, 0.25), (2.30, 0.58), (2.10, 0.76), (1.05, 0.95), (0.25, 1.42),
            (-1.75, 1.45), (-2.20, 1.00), (-2.28, 0.88), (-2.28, 0.30),
        ),
        width=1.78, axles=(1.38, -1.35), wheel=0.32, belt=0.93, roof=0.80, pillars=(-0.30, -1.10),
    ),
    "suv": VehicleModel(
        profile=(
            (2.20, 0.38), (2.25, 0.74), (2.08, 1.00), (1.05, 1.14), (0.40, 1.68),
            (-1.70, 1.72), (-2.10, 1.20), (-2.20, 1.02), (-2.20, 0.42),
        ),
        width=1.88, axles=(1.38, -1.38), wheel=0.38, belt=1.10, roof=0.83, pillars=(-0.25, -1.15),
    ),
    "van": VehicleModel(
        profile=(
            (2.50, 0.34), (2.55, 0.74), (2.35, 1.02), (1.75, 1.22), (1.05, 1.98),
            (-2.45, 2.05), (-2.50, 1.25), (-2.52, 1.00), (-2.52, 0.36),
        ),
        width=1.95, axles=(1.62, -1.62), wheel=0.34, belt=1.15, roof=0.92, pillars=(), panelled=True,
    ),
    "bus": VehicleModel(
        profile=(
            (5.50, 0.34), (5.60, 0.90), (5.55, 1.05), (5.50, 1.15), (5.35, 2.85),
            (-5.40, 2.95), (-5.50, 1.40), (-5.55, 1.00), (-5.55, 0.36),
        ),
        width=2.50, axles=(3.6, -3.2), wheel=0.48, belt=1.15, roof=0.97,
        pillars=(3.4, 2.0, 0.6, -0.8, -2.2, -3.6, -4.8),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Mesh:
    """Faces in drawing order.

    `vertices` [V, 3] are (right, up, forward) metres from the ground below the middle; face i has those from
    starts[i] to starts[i + 1], the outward unit normal normals[i], a material, and a level of detail (0: always).
    """

    vertices: Points
    starts: npt.NDArray[np.int64]
    normals: Points
    materials: tuple[str, ...]
    details: tuple[int, ...]


@lru_cache(maxsize=16)
def vehicle_mesh(name: str) -> Mesh:
    """Build the mesh of a model of MODELS."""
    model, builder = MODELS[name], _Builder()
    _underneath(builder, model)
    _body(builder, model)
    _ends(builder, model)
    for side in (-1, 1):
        for axle in model.axles:
            _wheel(builder, model, side, axle)
    _cabin(builder, model)
    return builder.mesh()


class _Builder:
    """Collects faces and turns each to look outward."""

    def __init__(self) -> None:
        self._faces: list[tuple[Points, str, int, Points]] = []

    def add(self, points: Points, material: str, detail: int = 0, outward: Points | None = None) -> None:
        """Add a flat face [N, 3]; without `outward` it looks away from the vehicle's middle."""
        normal = np.cross(points[1] - points[0], points[2] - points[1])
        towards = points.mean(axis=0) - np.array([0, 0.8, 0]) if outward is None else outward
        if normal @ towards < 0:
            normal = -normal
        self._faces.append((points, material, detail, normal / max(float(np.linalg.norm(normal)), 1e-9)))

    def decal(self, quad: Points, box: tuple[float, float, float, float], material: str, detail: int) -> None:
        """Lay a quad on a quad: `box` is (u0, v0, u1, v1) in shares of its first and its second edge."""
        u0, v0, u1, v1 = box
        u, v = np.array([[u0], [u1], [u1], [u0]]), np.array([[v0], [v0], [v1], [v1]])
        a, b, c, d = quad
        self.add((1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * d + u * c), material, detail)

    def mesh(self) -> Mesh:
        """Return what was collected."""
        lengths = [len(face[0]) for face in self._faces]
        return Mesh(
            np.concatenate([face[0] for face in self._faces]),
            np.concatenate([[0], np.cumsum(lengths)]),
            np.array([face[3] for face in self._faces]),
            tuple(face[1] for face in self._faces),
            tuple(face[2] for face in self._faces),
        )


def _across(model: VehicleModel, index: int) -> Points:
    """Return the left and right vertex at a point of the profile."""
    z, y = model.profile[index]
    half = model.width / 2
    if _COWL < index < _TAIL:
        half *= model.roof
    elif index <= 1 or index >= len(model.profile) - 2:
        half *= _END_TAPER
    return np.array([[-half, y, z], [half, y, z]])


def _strip(model: VehicleModel, first: int, second: int) -> Points:
    return np.concatenate([_across(model, first), _across(model, second)[::-1]])


def _outward(side: int, up: float = 0.0) -> Points:
    return np.array([side, up, 0.0])


def _underneath(builder: _Builder, model: VehicleModel) -> None:
    half, front, rear = model.width / 2, model.profile[0][0], model.profile[-1][0]
    for z, direction in ((front - 0.25, 1.0), (rear + 0.25, -1.0)):
        ahead = np.array([0, 0, direction])
        wide = half * 0.9
        builder.add(np.array([[-wide, 0.1, z], [wide, 0.1, z], [wide, 0.4, z], [-wide, 0.4, z]]), "under", 0, ahead)
        for side in (-1, 1):
            x0, x1 = side * (half - 0.04), side * (half - 0.2)
            builder.add(np.array([[x0, 0.0, z], [x1, 0.0, z], [x1, 0.4, z], [x0, 0.4, z]]), "tyre", 0, ahead)
    for side in (-1, 1):
        x = side * half * 0.93
        sill = [[x, 0.12, front - 0.2], [x, 0.12, rear + 0.2], [x, 0.5, rear + 0.2], [x, 0.5, front - 0.2]]
        builder.add(np.array(sill), "under", 0, _outward(side))


def _body(builder: _Builder, model: VehicleModel) -> None:
    count = len(model.profile)
    body = [*range(_COWL + 1), *range(_TAIL, count)]
    front, rear = model.profile[0][0], model.profile[-1][0]
    for side in (-1, 1):
        column = (side + 1) // 2
        builder.add(np.array([_across(model, index)[column] for index in body]), "paint", 0, _outward(side))
        x = side * model.width / 2
        low = [[x, 0.3, front - 0.2], [x, 0.3, rear + 0.2], [x, 0.52, rear + 0.1], [x, 0.52, front - 0.1]]
        builder.add(np.array(low), "paint low", 1, _outward(side))
        middle = model.pillars[0] if model.pillars else 0.5
        for z in (middle + 0.95, middle):
            seam = [[x, 0.35, z], [x, model.belt, z], [x, model.belt, z - 0.025], [x, 0.35, z - 0.025]]
            builder.add(np.array(seam), "seam", 2, _outward(side))
    for first, second in itertools.pairwise(body):
        builder.add(_strip(model, first, second), "paint")


def _ends(builder: _Builder, model: VehicleModel) -> None:
    """Lights, plates, grille and bumper at both ends."""
    profile, half = model.profile, model.width / 2 * _END_TAPER
    for (z, high), low, sign in ((profile[1], profile[0][1], 1.0), (profile[-2], profile[-1][1], -1.0)):
        place = z + sign * 0.015
        quad = np.array([[-half, low, place], [half, low, place], [half, high, place], [-half, high, place]])
        builder.decal(quad, (0.0, 0.0, 1.0, 0.36), "paint low", 1)
        if sign > 0:
            builder.decal(quad, (0.02, 0.52, 0.98, 0.94), "trim", 1)
            builder.decal(quad, (0.22, 0.52, 0.78, 0.62), "paint", 2)
            lamp, plate = "headlight", "plate front"
        else:
            builder.decal(quad, (0.0, 0.36, 1.0, 0.4), "seam", 2)
            lamp, plate = "tail light", "plate rear"
        builder.decal(quad, (0.03, 0.54, 0.2, 0.98), lamp, 0)
        builder.decal(quad, (0.8, 0.54, 0.97, 0.98), lamp, 0)
        builder.decal(quad, (0.35, 0.42, 0.65, 0.58), plate, 1)


def _wheel(builder: _Builder, model: VehicleModel, side: int, axle: float) -> None:
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    rings = ((1.22, "under", 0), (1.0, "tyre", 0), (0.62, "hub", 1), (0.2, "trim", 2))
    for layer, (share, material, detail) in enumerate(rings):
        radius = share * model.wheel
        floor = 0.28 if share > 1 else 0.0  # the arch ends above the ground
        y = np.maximum(model.wheel + radius * np.sin(turn), floor)
        x = np.full(16, side * (model.width / 2 + 0.004 * (layer + 1)))
        builder.add(np.column_stack([x, y, axle + radius * np.cos(turn)]), material, detail, _outward(side))


def _cabin(builder: _Builder, model: VehicleModel) -> None:
    for side in (-1, 1):
        _cabin_side(builder, model, side)
    for first, second in itertools.pairwise(range(_COWL, _TAIL + 1)):
        quad = _strip(model, first, second)
        builder.add(quad, "paint")
        if first == _COWL or (second == _TAIL and not model.panelled):
            builder.decal(quad, (0.06, 0.08, 0.94, 0.9), "glass", 0)
        elif second == _TAIL:
            builder.decal(quad, (0.10, 0.15, 0.46, 0.8), "glass", 1)
            builder.decal(quad, (0.54, 0.15, 0.90, 0.8), "glass", 1)


def _cabin_side(builder: _Builder, model: VehicleModel, side: int) -> None:
    column, outward = (side + 1) // 2, _outward(side, 0.2)
    outline = np.array([_across(model, index)[column] for index in range(_COWL, _TAIL + 1)])
    outline[[0, -1], 0] *= 0.985
    builder.add(outline, "paint", 0, outward)
    if model.panelled:
        front = np.array([outline[0], outline[1], outline[1] - [0, 0, 0.7], outline[0] - [0, 0, 1.4]])
        builder.decal(front, (0.12, 0.1, 0.9, 0.9), "glass", 0)
        return
    middle = outline.mean(axis=0)
    glass = middle + (outline - middle) * [1.0, 0.76, 0.88] + np.array([side * 0.01, 0.01, 0])
    builder.add(glass, "glass", 0, outward)
    low, high = float(glass[:, 1].min()), float(glass[:, 1].max())
    x_low, x_high = (float(glass[index, 0]) + side * 0.004 for index in (0, 1))
    for z in model.pillars:
        post = [[x_low, low, z + 0.04], [x_high, high, z + 0.04], [x_high, high, z - 0.04], [x_low, low, z - 0.04]]
        builder.add(np.array(post), "paint", 1, outward)
