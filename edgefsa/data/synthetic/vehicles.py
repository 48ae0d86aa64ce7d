"""Cars, vans and buses, painted from their meshes."""

from __future__ import annotations

import numpy as np

from edgefsa.data.synthetic.camera import Points
from edgefsa.data.synthetic.canvas import Colour
from edgefsa.data.synthetic.labels import Label
from edgefsa.data.synthetic.noise import stream
from edgefsa.data.synthetic.stage import Stage
from edgefsa.data.synthetic.street import Item
from edgefsa.data.synthetic.vehicle_mesh import MODELS, vehicle_mesh
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
_BUS_PAINTS: tuple[Colour, ...] = ((46, 40, 170), (150, 110, 40), (60, 130, 60), (40, 160, 210))
_MATERIALS: dict[str, Colour] = {
    "tyre": (30, 30, 30),
    "under": (20, 20, 21),
    "trim": (42, 42, 42),
    "hub": (150, 150, 148),
    "glass": (70, 62, 54),
    "plate front": (226, 230, 230),
    "plate rear": (60, 200, 226),
    "headlight": (204, 196, 184),
    "tail light": (44, 36, 170),
    "seam": (60, 60, 60),
}


def paint_car(stage: Stage, car: Item) -> None:
    """Paint a vehicle at the item's place; its colour comes from the seed."""
    pose = stage.view.pose(car.x, car.y, car.s, car.heading)
    depth = float(pose.origin[2])
    mesh = vehicle_mesh(car.variant)
    vertices = pose.place(mesh.vertices)
    if depth < 1.0:
        return
    finish = _finish(car)
    surface = stage.canvas.surface_at(Label.CAR, depth)
    scale = stage.view.scale(depth)
    level = 2 if scale > 45 else 1 if scale > 14 else 0
    normals = mesh.normals @ pose.axes
    hidden = (normals * vertices[mesh.starts[:-1]]).sum(axis=1) >= 0
    clear = float(vertices[:, 2].min()) > 0.9
    pixels = stage.view.project(vertices) if clear else None
    for index, (material, detail) in enumerate(zip(mesh.materials, mesh.details, strict=True)):
        if hidden[index] or detail > level:
            continue
        face = slice(int(mesh.starts[index]), int(mesh.starts[index + 1]))
        outline = pixels[face] if pixels is not None else stage.view.outline(vertices[face])
        stage.canvas.fill(outline, _shade(stage, finish, material, normals[index]), surface)
    if car.moving and (stage.weather.dusk or stage.weather.rain):
        _lamps(stage, pose.place(MODELS[car.variant].lamps), surface)


def _finish(car: Item) -> dict[str, Colour]:
    rng = stream(car.seed, "paint")
    paint = _PAINTS[int(rng.choice(len(_PAINTS), p=[share for _, share in _PAINTS]))][0]
    if car.variant == "bus":
        paint = _BUS_PAINTS[int(rng.integers(len(_BUS_PAINTS)))]
    if car.variant == "van" and rng.random() < 0.6:
        paint = (226, 228, 228)
    paint = scaled(paint, float(rng.uniform(0.9, 1.08)))
    return {**_MATERIALS, "paint": paint, "paint low": mixed(scaled(paint, 0.72), (46, 46, 46), 0.25)}


def _shade(stage: Stage, finish: dict[str, Colour], material: str, normal: Points) -> Colour:
    # Paint and glass mirror the sky, the more the further up they look.
    colour = stage.lit(finish[material], normal)
    upward = max(0.0, float(normal[1]))
    if material == "glass":
        return mixed(colour, stage.weather.horizon, 0.08 + 0.2 * upward)
    if material == "paint":
        return mixed(colour, stage.weather.horizon, 0.05 + 0.2 * upward**2)
    return colour


def _lamps(stage: Stage, places: Points, surface: int) -> None:
    facing = bool(places[0, 2] < places[2, 2])
    colour: Colour = (235, 250, 255) if facing else (60, 50, 255)
    for place in places[:2] if facing else places[2:]:
        if place[2] > 2.0:
            radius = (0.6 if facing else 0.32) * stage.view.scale(float(place[2]))
            stage.glow(stage.view.project(np.asarray(place)), radius, colour, surface)
