"""Cars, vans and buses as small meshes: a lofted body with glass, wheels, lights and plates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edgefsa.data.synthetic.camera import Points
from edgefsa.data.synthetic.canvas import Colour
from edgefsa.data.synthetic.labels import Label
from edgefsa.data.synthetic.noise import stream
from edgefsa.data.synthetic.stage import Stage
from edgefsa.data.synthetic.street import Item
from edgefsa.data.synthetic.weather import mixed, scaled

_PAINTS: tuple[tuple[Colour, float], ...] = (
    ((196, 194, 190), 0.18),
    ((226, 228, 228), 0.14),
    ((126, 122, 118), 0.14),
    ((46, 46, 46), 0.17),
    ((96, 54, 34), 0.11),
    ((44, 40, 150), 0.10),
    ((160, 96, 40), 0.06),
    ((54, 76, 40), 0.05),
    ((40, 176, 216), 0.02),
    ((150, 160, 170), 0.03),
)
_END_TAPER = 0.93
_COLOURS: dict[str, Colour] = {
    "tyre": (30, 30, 30),
    "under": (20, 20, 21),
    "trim": (42, 42, 42),
    "hub": (150, 150, 148),
    "glass": (70, 62, 54),
    "plate front": (226, 230, 230),
    "plate rear": (60, 200, 226),
    "headlight": (204, 196, 184),
    "tail light": (44, 36, 170),
    "stripe": (60, 60, 60),
}


@dataclass(frozen=True)
class _Model:
    """Lengths in metres; the profile runs (forward, up) from the front bumper over the roof to the rear bumper.

    `cowl` and `tail` are the profile indices where the windscreen starts and the rear window ends.
    """

    profile: tuple[tuple[float, float], ...]
    width: float
    axles: tuple[float, float]
    wheel: float
    belt: float
    cowl: int
    tail: int
    taper: float
    pillars: tuple[float, ...]


_MODELS: dict[str, _Model] = {
    "hatchback": _Model(
        ((1.98, 0.26), (2.02, 0.6), (1.82, 0.8), (0.98, 0.98), (0.15, 1.44), (-1.2, 1.46), (-1.82, 1.02), (-1.95, 0.9), (-1.96, 0.3)),
        1.74, (1.25, -1.22), 0.31, 0.94, 3, 6, 0.80, (-0.42, -1.18)),
    "city car": _Model(
        ((1.70, 0.26), (1.74, 0.62), (1.56, 0.82), (0.95, 1.0), (0.28, 1.48), (-1.25, 1.52), (-1.66, 1.04), (-1.72, 0.9), (-1.72, 0.3)),
        1.6, (1.12, -1.12), 0.29, 0.97, 3, 6, 0.82, (-0.3,)),
    "saloon": _Model(
        ((2.25, 0.25), (2.3, 0.58), (2.1, 0.76), (1.02, 0.95), (0.2, 1.40), (-0.95, 1.41), (-1.62, 1.02), (-2.2, 0.98), (-2.28, 0.3)),
        1.78, (1.38, -1.35), 0.32, 0.92, 3, 6, 0.78, (-0.32, -1.02)),
    "estate": _Model(
        ((2.25, 0.25), (2.3, 0.58), (2.1, 0.76), (1.05, 0.95), (0.25, 1.42), (-1.75, 1.45), (-2.2, 1.0), (-2.28, 0.88), (-2.28, 0.3)),
        1.78, (1.38, -1.35), 0.32, 0.93, 3, 6, 0.80, (-0.3, -1.1)),
    "suv": _Model(
        ((2.2, 0.38), (2.25, 0.74), (2.08, 1.0), (1.05, 1.14), (0.4, 1.68), (-1.7, 1.72), (-2.1, 1.2), (-2.2, 1.02), (-2.2, 0.42)),
        1.88, (1.38, -1.38), 0.38, 1.1, 3, 6, 0.83, (-0.25, -1.15)),
    "van": _Model(
        ((2.5, 0.34), (2.55, 0.74), (2.35, 1.02), (1.75, 1.22), (1.05, 1.98), (-2.45, 2.05), (-2.5, 1.25), (-2.52, 1.0), (-2.52, 0.36)),
        1.95, (1.62, -1.62), 0.34, 1.15, 3, 6, 0.92, (0.25,)),
    "bus": _Model(
        ((5.5, 0.34), (5.6, 0.9), (5.55, 1.05), (5.5, 1.15), (5.35, 2.85), (-5.4, 2.95), (-5.5, 1.4), (-5.55, 1.0), (-5.55, 0.36)),
        2.5, (3.6, -3.2), 0.48, 1.15, 3, 6, 0.97, (3.4, 2.0, 0.6, -0.8, -2.2, -3.6, -4.8)),
}  # fmt: skip


@dataclass(frozen=True)
class _Mesh:
    """Faces in drawing order: vertices [V, 3], where each face starts, normals [F, 3], material and detail per face."""

    vertices: Points
    starts: npt.NDArray[np.int64]
    normals: Points
    materials: tuple[str, ...]
    details: tuple[int, ...]


class _Builder:
    """Collects faces; turns each so that it looks away from the body's middle."""

    def __init__(self) -> None:
        self._faces: list[tuple[Points, str, int, Points]] = []

    def add(self, points: Points, material: str, detail: int = 0, outward: Points | None = None) -> None:
        normal = np.cross(points[1] - points[0], points[2] - points[1])
        towards = points.mean(axis=0) - np.array([0, 0.8, 0]) if outward is None else outward
        if normal @ towards < 0:
            normal = -normal
        self._faces.append((points, material, detail, normal / max(float(np.linalg.norm(normal)), 1e-9)))

    def decal(self, quad: Points, box: tuple[float, float, float, float], material: str, detail: int) -> None:
        """Lay a smaller quad on a face: `box` is (u0, v0, u1, v1) in shares of the quad's first and second edge."""
        u0, v0, u1, v1 = box
        a, b, c, d = quad

        def at(u: float, v: float) -> Points:
            return np.asarray((1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * d + u * c))

        self.add(np.array([at(u0, v0), at(u1, v0), at(u1, v1), at(u0, v1)]), material, detail)

    def mesh(self) -> _Mesh:
        lengths = [len(face[0]) for face in self._faces]
        return _Mesh(
            np.concatenate([face[0] for face in self._faces]),
            np.concatenate([[0], np.cumsum(lengths)]),
            np.array([face[3] for face in self._faces]),
            tuple(face[1] for face in self._faces),
            tuple(face[2] for face in self._faces),
        )


@lru_cache(maxsize=16)
def _mesh(name: str) -> _Mesh:
    model, build = _MODELS[name], _Builder()
    half = model.width / 2
    roof = half * model.taper
    profile = np.array(model.profile)
    inner = range(model.cowl + 1, model.tail)
    ends = (0, 1, len(profile) - 2, len(profile) - 1)

    def across(index: int) -> Points:
        z, y = profile[index]
        wide = roof if index in inner else half * _END_TAPER if index in ends else half
        return np.array([[-wide, y, z], [wide, y, z]])

    _underneath(build, model, half)
    body = [*range(model.cowl + 1), *range(model.tail, len(profile))]
    for side in (-1, 1):
        outline = np.array([across(index)[(side + 1) // 2] for index in body])
        build.add(outline, "paint", outward=np.array([side, 0, 0]))
        low = np.array([[side * half, 0.3, profile[0][0]], [side * half, 0.3, profile[-1][0]]])
        sill = np.concatenate([low, low[::-1] + [0, 0.22, 0]])
        build.add(sill, "paint low", 1, np.array([side, 0, 0]))
        _doors(build, model, side, half)
    for first, second in zip(body[:-1], body[1:], strict=True):
        quad = np.concatenate([across(first), across(second)[::-1]])
        build.add(quad, "paint")
    _ends(build, profile, half * _END_TAPER, name)
    for side in (-1, 1):
        for axle in model.axles:
            _wheel(build, side, half, axle, model.wheel)
    _cabin(build, model, profile, half, roof, across)
    return build.mesh()


def _underneath(build: _Builder, model: _Model, half: float) -> None:
    for z, direction in ((model.profile[0][0] - 0.25, 1.0), (model.profile[-1][0] + 0.25, -1.0)):
        outward = np.array([0, 0, direction])
        wide = half * 0.9
        build.add(np.array([[-wide, 0.1, z], [wide, 0.1, z], [wide, 0.4, z], [-wide, 0.4, z]]), "under", 0, outward)
        for side in (-1, 1):
            x0, x1 = side * (half - 0.04), side * (half - 0.2)
            build.add(np.array([[x0, 0.0, z], [x1, 0.0, z], [x1, 0.4, z], [x0, 0.4, z]]), "tyre", 0, outward)
    front, rear = model.profile[0][0] - 0.2, model.profile[-1][0] + 0.2
    for side in (-1, 1):
        x = side * half * 0.93
        outline = np.array([[x, 0.12, front], [x, 0.12, rear], [x, 0.5, rear], [x, 0.5, front]])
        build.add(outline, "under", 0, np.array([side, 0, 0]))


def _doors(build: _Builder, model: _Model, side: int, half: float) -> None:
    outward = np.array([side, 0.0, 0.0])
    x = side * (half + 0.002)
    for z in (model.pillars[0] + 0.95, *model.pillars[:1]):
        line = np.array([[x, 0.35, z], [x, model.belt, z], [x, model.belt, z - 0.025], [x, 0.35, z - 0.025]])
        build.add(line, "stripe", 2, outward)


def _ends(build: _Builder, profile: Points, half: float, name: str) -> None:
    """Lights, plates, grille and bumper lines at both ends."""
    (front_z, front_y), (rear_z, rear_y) = profile[1], profile[-2]
    for z, low, high, sign in ((front_z, profile[0][1], front_y, 1.0), (rear_z, profile[-1][1], rear_y, -1.0)):
        place = z + sign * 0.015
        quad = np.array([[-half, low, place], [half, low, place], [half, high, place], [-half, high, place]])
        lamp = "headlight" if sign > 0 else "tail light"
        plate = "plate front" if sign > 0 else "plate rear"
        build.decal(quad, (0.0, 0.0, 1.0, 0.34), "paint low", 1)
        if sign > 0:
            build.decal(quad, (0.02, 0.52, 0.98, 0.94), "trim", 1)
            build.decal(quad, (0.22, 0.52, 0.78, 0.62), "paint", 2)
        build.decal(quad, (0.03, 0.56, 0.22, 0.96), lamp, 0)
        build.decal(quad, (0.78, 0.56, 0.97, 0.96), lamp, 0)
        build.decal(quad, (0.35, 0.36, 0.65, 0.54), plate, 1)
        if name == "bus":
            build.decal(quad, (0.1, 0.6, 0.9, 0.95), "trim", 1)


def _wheel(build: _Builder, side: int, half: float, axle: float, radius: float) -> None:
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    outward = np.array([side, 0.0, 0.0])
    for scale, material, gap, detail in ((1.22, "under", 0.004, 0), (1.0, "tyre", 0.008, 0), (0.62, "hub", 0.012, 1), (0.2, "trim", 0.016, 2)):
        y = np.maximum(radius + scale * radius * np.sin(turn), 0.0 if scale <= 1 else 0.28)
        ring = np.column_stack([np.full(16, side * (half + gap)), y, axle + scale * radius * np.cos(turn)])
        build.add(ring, material, detail, outward)


def _cabin(build: _Builder, model: _Model, profile: Points, half: float, roof: float, across) -> None:  # type: ignore[no-untyped-def]
    top = range(model.cowl, model.tail + 1)
    for side in (-1, 1):
        lower = np.array([[side * half * 0.985, profile[i][1], profile[i][0]] for i in (model.cowl, model.tail)])
        upper = np.array([[side * roof, profile[i][1], profile[i][0]] for i in range(model.cowl + 1, model.tail)])
        outline = np.concatenate([lower[:1], upper, lower[1:]])
        build.add(outline, "paint", 0, np.array([side, 0.2, 0]))
        middle = outline.mean(axis=0)
        glass = middle + (outline - middle) * [1.0, 0.76, 0.88] + np.array([side * 0.01, 0.01, 0])
        build.add(glass, "paint" if model is _MODELS["van"] else "glass", 0, np.array([side, 0.2, 0]))
        if model is _MODELS["van"]:
            front = np.array([outline[0], outline[1], outline[1] - [0, 0, 0.7], outline[0] - [0, 0, 1.4]])
            build.decal(front, (0.12, 0.1, 0.9, 0.9), "glass", 0)
        for z in model.pillars:
            _pillar(build, z, glass, side)
    for first, second in zip(top[:-1], top[1:], strict=True):
        quad = np.concatenate([across(first), across(second)[::-1]])
        build.add(quad, "paint")
        screen = first == model.cowl or (second == model.tail and model is not _MODELS["van"])
        if screen:
            build.decal(quad, (0.06, 0.08, 0.94, 0.9), "glass", 0)
    if model is _MODELS["van"]:
        rear = np.concatenate([across(model.tail - 1), across(model.tail)[::-1]])
        build.decal(rear, (0.1, 0.15, 0.46, 0.8), "glass", 1)
        build.decal(rear, (0.54, 0.15, 0.9, 0.8), "glass", 1)


def _pillar(build: _Builder, z: float, glass: Points, side: int) -> None:
    low, high = float(glass[:, 1].min()), float(glass[:, 1].max())
    x_low, x_high = (float(glass[index, 0]) + side * 0.004 for index in (0, 1))
    points = [[x_low, low, z + 0.04], [x_high, high, z + 0.04], [x_high, high, z - 0.04], [x_low, low, z - 0.04]]
    build.add(np.array(points), "paint", 1, np.array([side, 0.2, 0]))


def paint_car(stage: Stage, car: Item) -> None:
    """Paint a vehicle at the item's place; its colour comes from the seed."""
    pose = stage.view.pose(car.x, car.y, car.s, car.heading)
    depth = float(pose.origin[2])
    mesh = _mesh(car.variant)
    vertices = pose.place(mesh.vertices)
    if depth < 1.0 or float(vertices[:, 2].max()) < 1.0:
        return
    finish = _finish(stage, car)
    surface = stage.canvas.surface_at(Label.CAR, depth)
    level = 2 if stage.view.scale(depth) > 45 else 1 if stage.view.scale(depth) > 14 else 0
    normals = mesh.normals @ pose.axes
    clear = float(vertices[:, 2].min()) > 0.9
    pixels = stage.view.project(vertices) if clear else None
    for index, (material, detail) in enumerate(zip(mesh.materials, mesh.details, strict=True)):
        first, last = int(mesh.starts[index]), int(mesh.starts[index + 1])
        if detail > level or float(normals[index] @ vertices[first]) >= 0:
            continue
        outline = pixels[first:last] if pixels is not None else stage.view.outline(vertices[first:last])
        stage.canvas.fill(outline, _shade(stage, finish, material, normals[index]), surface)
    if stage.weather.dusk or stage.weather.rain:
        _lamps(stage, car, pose.place(np.array(_lamp_places(car.variant))), level)


def _finish(stage: Stage, car: Item) -> dict[str, Colour]:
    rng = stream(car.seed, "paint")
    paint = _PAINTS[int(rng.choice(len(_PAINTS), p=[share for _, share in _PAINTS]))][0]
    if car.variant == "bus":
        paint = ((46, 40, 170), (150, 110, 40), (60, 130, 60), (40, 160, 210))[int(rng.integers(4))]
    if car.variant == "van" and rng.random() < 0.6:
        paint = (226, 228, 228)
    dark = scaled(paint, float(rng.uniform(0.9, 1.08)))
    return {**_COLOURS, "paint": dark, "paint low": mixed(scaled(dark, 0.72), (46, 46, 46), 0.25)}


def _shade(stage: Stage, finish: dict[str, Colour], material: str, normal: Points) -> Colour:
    colour = stage.lit(finish[material], normal)
    upward = max(0.0, float(normal[1]))
    if material == "glass":
        return mixed(colour, stage.weather.horizon, 0.08 + 0.2 * upward)
    if material == "paint":
        return mixed(colour, stage.weather.horizon, 0.05 + 0.2 * upward**2)
    return colour


def _lamp_places(variant: str) -> list[tuple[float, float, float]]:
    model = _MODELS[variant]
    x = model.width * 0.39
    front, rear = model.profile[1], model.profile[-2]
    return [(-x, front[1] * 0.88, front[0] + 0.05), (x, front[1] * 0.88, front[0] + 0.05), (-x, rear[1] * 0.82, rear[0] - 0.05), (x, rear[1] * 0.82, rear[0] - 0.05)]


def _lamps(stage: Stage, car: Item, places: Points, level: int) -> None:
    if not car.moving:
        return
    front = places[0, 2] < places[2, 2]
    colour: Colour = (235, 250, 255) if front else (60, 50, 255)
    for place in places[:2] if front else places[2:]:
        if place[2] > 2.0:
            u, v = stage.view.project(place)
            radius = (0.6 if front else 0.32) * stage.view.scale(float(place[2]))
            stage.glows.append((float(u), float(v), radius, colour))
