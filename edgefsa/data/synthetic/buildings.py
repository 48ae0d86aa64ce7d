"""Houses as boxes with roofs, and the walls, fences and hedges along the street."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from edgefsa.data.synthetic.camera import Points
from edgefsa.data.synthetic.canvas import Colour, Pixels
from edgefsa.data.synthetic.facade import Front, draw_front, front_texture, wall_texture
from edgefsa.data.synthetic.labels import Label
from edgefsa.data.synthetic.noise import crop, fractal_tile, grain_tile, joint_tile, stream
from edgefsa.data.synthetic.stage import Stage, cross, unit
from edgefsa.data.synthetic.street import KERB_M, Barrier, Building
from edgefsa.data.synthetic.weather import scaled

_UP = np.array([0.0, 1.0, 0.0])
_TILED_TO_M = 45.0
_CHIMNEYS_TO_M = 100.0


def paint_building(stage: Stage, house: Building) -> None:
    """Paint a house: roof, chimneys, the near end wall, the front."""
    view = stage.view
    front = draw_front(house.style, house.seed)
    out = (-1, 1)[house.side]
    near, far = view.points(house.x, KERB_M, np.array([house.s0, house.s1]))
    along, width = unit(far - near), float(np.linalg.norm(far - near))
    away = np.array([along[2], 0.0, -along[0]]) * out  # from the front to the back of the house
    if max(near[2], far[2]) < 1.0:
        return
    height = house.height
    if not front.flat_roof:
        _roof(stage, house, front, near, along, away, width)
    end = away * house.depth
    if (-along) @ near < 0 and house.covered < height:
        _end_wall(stage, house, front, near, away, height)
    elif along @ (far + 0.01 * along) < 0:
        _end_wall(stage, house, front, far, away, height)
    distance = max(3.0, float(min(near[2], far[2])), 0.6 * abs(float(near[0])))
    scale = _texture_scale(view.scale(distance))
    lights = int(15 + 35 * stage.weather.dusk) if stage.weather.dusk or stage.weather.rain else 3
    texture = front_texture(house.style, house.seed, round(width, 2), round(height, 2), scale, lights)
    if away @ near > 0:
        stage.panel(near, along, _UP, texture, np.array([width, height]), Label.BUILDING)
    if front.flat_roof:
        _parapet(stage, front, near + _UP * height, along, end, width)


def _texture_scale(pixels_per_metre: float) -> int:
    return 32 if pixels_per_metre > 50 else 20 if pixels_per_metre > 20 else 10


def _end_wall(stage: Stage, house: Building, front: Front, corner: Points, away: Points, height: float) -> None:
    depth = house.depth
    rise = 0.0 if front.flat_roof else front.roof_rise
    texture = _end_texture(house.style, house.seed, round(depth, 1), round(height + rise, 1))
    gable = [[0, 0], [depth, 0], [depth, height]] + ([[depth / 2, height + rise]] if rise else []) + [[0, height]]
    size = np.array([depth, height + rise])
    stage.patch(corner, away, _UP, texture, size, np.array(gable, float), Label.BUILDING)


@lru_cache(maxsize=128)
def _end_texture(style: str, seed: int, width_m: float, height_m: float) -> Pixels:
    return wall_texture(draw_front(style, seed), width_m, height_m, 16, stream(seed, "end"))


def _roof(stage: Stage, house: Building, front: Front, near: Points, along: Points, away: Points, width: float) -> None:
    rise, half = front.roof_rise, house.depth / 2
    eaves = near + _UP * house.height - away * 0.3 - _UP * 0.15
    slope = unit(away * half + _UP * rise)
    length = float(np.hypot(half, rise)) + 0.3
    normal = cross(along, slope)
    normal = normal if normal[1] > 0 else -normal
    if normal @ eaves < 0:
        if near[2] > _TILED_TO_M:
            ridge_wards = slope * length
            far_eaves = eaves + along * width
            sheet = np.array([eaves, far_eaves, far_eaves + ridge_wards, eaves + ridge_wards])
            surface = stage.canvas.surface_at(Label.BUILDING, float(near[2]))
            stage.polygon(sheet, stage.lit(front.roof, normal), surface)
        else:
            texture = _tiles(front.roof, house.seed % 4)
            stage.panel(eaves, along, slope, texture, np.array([width, length]), Label.BUILDING)
    if near[2] > _CHIMNEYS_TO_M:
        return
    rng = stream(house.seed, "chimneys")
    ridge = near + away * half + _UP * (house.height + rise)
    for _ in range(int(rng.integers(0, 3))):
        _chimney(stage, ridge + along * float(rng.uniform(0.1, 0.9)) * width, along, away, front.colour, rng)


def _chimney(stage: Stage, foot: Points, along: Points, away: Points, colour: Colour, rng: np.random.Generator) -> None:
    if foot[2] < 4:
        return
    half, height = 0.45, float(rng.uniform(0.9, 1.6))
    surface = stage.canvas.surface_at(Label.BUILDING, float(foot[2]))
    for side, normal in ((along, -away), (away, -along)):
        middle = foot + normal * half
        if normal @ middle > 0:
            continue
        face = [middle - side * half - _UP * 0.8, middle + side * half - _UP * 0.8]
        face += [middle + side * half + _UP * height, middle - side * half + _UP * height]
        stage.polygon(np.array(face), stage.lit(scaled(colour, 0.85), normal), surface)
    for offset in (-0.2, 0.2):
        pot = stage.view.project(foot + along * offset + _UP * np.array([[height], [height + 0.4]]))
        stage.canvas.line(pot, 0.22 * stage.view.scale(float(foot[2])), stage.lit_round((70, 90, 150)), surface)


def _parapet(stage: Stage, front: Front, corner: Points, along: Points, end: Points, width: float) -> None:
    surface = stage.canvas.surface_at(Label.BUILDING, max(2.0, float(corner[2])))
    outwards = -unit(end)
    strip = np.array([corner, corner + along * width, corner + along * width + _UP * 0.35, corner + _UP * 0.35])
    stage.polygon(strip + outwards * 0.1, stage.lit(scaled(front.colour, 0.9), outwards), surface)


@lru_cache(maxsize=32)
def _tiles(colour: Colour, variant: int) -> Pixels:
    rng = stream(variant, "tiles")
    tone = 0.14 * crop(joint_tile(32, 32, -1.2, True), rng, 256, 256)
    tone = tone + 0.14 * crop(fractal_tile(coarsest=8, octaves=5, seed=3), rng, 256, 256)
    tiles: Pixels = np.clip((1.0 + tone)[..., None] * np.array(colour, np.float32), 0, 255).astype(np.uint8)
    return tiles


def paint_barrier(stage: Stage, barrier: Barrier) -> None:
    """Paint a piece of fence, railing, wall or hedge; it is straight, so that a bend needs several."""
    near, far = stage.view.points(barrier.x, KERB_M, np.array([barrier.s0, barrier.s1]))
    if far[2] >= 1.0:
        _BARRIERS[barrier.kind](stage, barrier, near, far)


def _solid(stage: Stage, barrier: Barrier, near: Points, far: Points) -> None:
    along, width = unit(far - near), float(np.linalg.norm(far - near))
    label = {"wall": Label.BUILDING, "hedge": Label.TREE}.get(barrier.kind, Label.FENCE)
    texture = _barrier_texture(barrier.kind, barrier.seed)
    size = np.array([width, barrier.height])
    if barrier.kind == "hedge":
        _hedge_top(stage, barrier, near, far)
    stage.panel(near, along, _UP, texture, size, label)
    if barrier.kind == "wall":
        surface = stage.canvas.surface_at(label, max(1.0, float(near[2])))
        cap = np.array([near, far, far + _UP * 0.12, near + _UP * 0.12]) + _UP * barrier.height
        stage.polygon(cap, stage.lit((150, 158, 164), np.array([0.0, 0.6, -0.8])), surface)


def _hedge_top(stage: Stage, barrier: Barrier, near: Points, far: Points) -> None:
    steps = np.linspace(0, 1, 25)[:, None]
    rng = stream(barrier.seed, "crest")
    crest = near + (far - near) * steps + _UP * (barrier.height + 0.16 * rng.random((25, 1)) - 0.02)
    points = np.concatenate([[near], crest, [far]])
    surface = stage.canvas.surface_at(Label.TREE, max(1.0, float(near[2])))
    stage.polygon(points, stage.lit((58, 112, 88), np.array([0.0, 0.8, -0.6])), surface)


@lru_cache(maxsize=64)
def _barrier_texture(kind: str, seed: int) -> Pixels:
    rng = stream(seed, "barrier")
    height, width = 64, 256
    if kind == "wall":
        front = draw_front("terrace", seed)
        return wall_texture(front, 8.0, 2.0, 32, rng)
    if kind == "hedge":
        tone = 0.45 * crop(grain_tile(), rng, height, width) + 0.35 * crop(
            fractal_tile(8, 6, 0.8, 5), rng, height, width
        )
        colour = np.array([44, 96, 74], np.float32) * float(rng.uniform(0.75, 1.2))
        shade = np.linspace(1.15, 0.65, height, dtype=np.float32)[:, None]
        return np.clip(((1 + tone) * shade)[..., None] * colour, 0, 255).astype(np.uint8)
    wood = np.array([(70, 100, 132), (84, 96, 108), (60, 74, 92)][int(rng.integers(3))], np.float32)
    planks = rng.normal(1.0, 0.09, 48).repeat(6)[:width]
    planks = planks * np.where(np.arange(width) % 6 == 0, 0.45, 1.0)
    grain = 1 + 0.08 * crop(fractal_tile(coarsest=8, octaves=5, seed=3), rng, height, width)
    picture = np.clip((grain * planks[None])[..., None] * wood, 0, 255).astype(np.uint8)
    picture[6:9] = wood * 0.7
    return np.ascontiguousarray(picture)


def _open(stage: Stage, barrier: Barrier, near: Points, far: Points) -> None:
    """Bars with something to see between them; the whole panel is fence, as CamVid labels it."""
    if near[2] < 0.9:
        near = near + (far - near) * (0.9 - near[2]) / (far[2] - near[2])
    rail = barrier.kind == "guard rail"
    colour = {"railings": (46, 46, 44), "pickets": (214, 220, 222), "guard rail": (150, 150, 146)}[barrier.kind]
    towards = np.array([-near[0], 0.0, -near[2]])
    lit = stage.lit(colour, unit(towards))
    depth = float(0.5 * (near[2] + far[2]))
    surface = stage.canvas.surface_at(Label.FENCE, depth)
    base = 0.15 if rail else 0.0
    panel = np.array([near + _UP * base, far + _UP * base, far + _UP * barrier.height, near + _UP * barrier.height])
    stage.canvas.veil(stage.view.outline(panel), lit, 0.3, surface)
    pitch = {"railings": 0.14, "pickets": 0.16, "guard rail": 0.12}[barrier.kind]
    length = float(np.linalg.norm(far - near))
    count = int(length / pitch)
    feet = near + (far - near) * (np.arange(count)[:, None] + 0.5) / max(count, 1)
    facing = abs(float(unit(far - near)[0]))
    spacing = pitch * facing * stage.view.scale(depth)
    if spacing > 0.7 or depth < 25:
        tops = feet + _UP * barrier.height
        bars = np.stack([stage.view.project(feet + _UP * base), stage.view.project(tops)], axis=1)
        breadth = (0.09 * facing if barrier.kind == "pickets" else 0.025) * stage.view.lens.focal / feet[:, 2]
        for bar, wide in zip(bars, breadth, strict=True):
            stage.canvas.line(bar, wide, lit, surface)
    for height in (barrier.height, 0.12 * barrier.height + base):
        ends = stage.view.project(np.array([near, far]) + _UP * height)
        stage.canvas.line(ends, 0.05 * stage.view.scale(depth), scaled(lit, 0.95), surface)


_BARRIERS = {
    "planks": _solid,
    "wall": _solid,
    "hedge": _solid,
    "railings": _open,
    "pickets": _open,
    "guard rail": _open,
}
