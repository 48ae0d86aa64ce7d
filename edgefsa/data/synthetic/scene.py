"""Scenes and clips: a street, a weather, a camera, painted from back to front."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from edgefsa.data.synthetic import effects
from edgefsa.data.synthetic.buildings import paint_barrier, paint_building
from edgefsa.data.synthetic.camera import Lens, View
from edgefsa.data.synthetic.canvas import SUPERSAMPLING, Canvas
from edgefsa.data.synthetic.furniture import paint_bollard, paint_clutter, paint_lamp, paint_sign
from edgefsa.data.synthetic.ground import Ground, visible_blocks
from edgefsa.data.synthetic.labels import Label
from edgefsa.data.synthetic.noise import stream
from edgefsa.data.synthetic.people import paint_bicyclist, paint_pedestrian
from edgefsa.data.synthetic.plants import paint_tree
from edgefsa.data.synthetic.shadows import shade_ground
from edgefsa.data.synthetic.sky import paint_horizon, paint_sky
from edgefsa.data.synthetic.stage import Stage
from edgefsa.data.synthetic.street import Barrier, Building, Item, Plan, Thing, block, draw_plan
from edgefsa.data.synthetic.traffic import moving_things
from edgefsa.data.synthetic.vehicles import paint_car
from edgefsa.data.synthetic.weather import Weather, draw_weather, scaled
from edgefsa.errors import InputError
from edgefsa.media.frames import Frame, Mask

GENERATOR_VERSION = 1
MIN_SIDE, MAX_SIDE = 32, 4096
_REACH_M = 165.0
_WIDEST_M = 7.0
_STRETCH_M = 6.0

_ITEMS: dict[str, Callable[[Stage, Item], None]] = {
    "tree": paint_tree,
    "lamp": paint_lamp,
    "sign": paint_sign,
    "bollard": paint_bollard,
    "clutter": paint_clutter,
    "car": paint_car,
    "pedestrian": paint_pedestrian,
    "bicyclist": paint_bicyclist,
}


@dataclass(frozen=True)
class Scene:
    """A street with its weather and the car that films it; lengths in metres, speed in metres a second."""

    seed: int
    plan: Plan
    weather: Weather
    look: effects.CameraLook
    start: float
    offset: float
    camera_height: float
    yaw: float
    horizon: float
    focal: float
    speed: float
    bonnet: bool


def draw_scene(seed: int) -> Scene:
    """Draw everything that a seed settles."""
    rng = stream(seed, "scene")
    return Scene(
        seed=seed,
        plan=draw_plan(seed),
        weather=draw_weather(stream(seed, "weather")),
        look=effects.draw_look(stream(seed, "look")),
        start=float(rng.uniform(0, 60)),
        offset=float(rng.normal(0, 0.25)),
        camera_height=float(rng.uniform(1.25, 1.75)),
        yaw=float(rng.normal(0, 0.05)),
        horizon=float(rng.uniform(0.44, 0.54)),
        focal=float(rng.uniform(0.82, 1.08)),
        speed=float(rng.uniform(6.5, 11.0)),
        bonnet=bool(rng.random() < 0.12),
    )


def render_scene(seed: int, size_hw: tuple[int, int] = (360, 480)) -> tuple[Frame, Mask]:
    """Render the street scene of a seed.

    Gives a frame, uint8 [H, W, 3] BGR, and its label, uint8 [H, W] with CamVid's class indices (11: unlabelled).
    The label has exactly the picture's geometry. The same seed and size give the same pixels.
    Raises InputError where a side of `size_hw` is not 32 to 4096.
    """
    return render(draw_scene(seed), check_size(size_hw), time_s=0.0)


def render_clip(
    seed: int, frames: int, size_hw: tuple[int, int] = (360, 480), fps: float = 25.0
) -> Iterator[tuple[Frame, Mask]]:
    """Drive along the street of a seed: yields `frames` pairs as render_scene gives them, 1 / fps seconds apart.

    The first pair is render_scene(seed). Raises InputError for a size, count or rate that cannot be used.
    """
    size_hw = check_size(size_hw)
    if frames < 1 or not fps > 0:
        raise InputError(f"a clip of {frames} frames at {fps} frames a second cannot be made; both must be positive")
    scene = draw_scene(seed)
    return (render(scene, size_hw, index / fps) for index in range(frames))


def check_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the size back, or raise InputError."""
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size_hw):
        raise InputError(f"a scene of {size_hw[0]}x{size_hw[1]} cannot be drawn; sides are {MIN_SIDE} to {MAX_SIDE}")
    return size_hw


def render(scene: Scene, size_hw: tuple[int, int], time_s: float, with_effects: bool = True) -> tuple[Frame, Mask]:
    """Render a moment of a scene; without effects the picture is what was painted, averaged down."""
    stage, things = paint(scene, size_hw, time_s)
    picture, label, inverse_depth, material = stage.canvas.resolve()
    if not with_effects:
        return np.clip(picture, 0, 255).astype(np.uint8), label
    rng = stream(scene.seed, "film", round(time_s * 1000))
    effects.texture_ground(stage, picture, inverse_depth, material)
    shade_ground(stage, things, picture, material)
    effects.mirror_in_wet_ground(stage, picture, material)
    effects.add_fog(stage, picture, inverse_depth)
    effects.add_glows(stage, picture)
    effects.add_rain(picture, scene.weather.rain, rng)
    return effects.photograph(picture, scene.look, rng), label


def paint(scene: Scene, size_hw: tuple[int, int], time_s: float) -> tuple[Stage, list[Thing]]:
    """Paint a moment of a scene on a new canvas; return the stage and the things that stand in view."""
    view = _view(scene, size_hw, time_s)
    stage = Stage(Canvas(size_hw), view, scene.weather)
    blocks = [block(scene.plan, index) for index in visible_blocks(view.s)]
    paint_sky(stage)
    paint_horizon(stage, scene.seed)
    Ground(stage, scene.plan).paint(blocks)
    things: list[Thing] = [thing for part in blocks for thing in part.things]
    things += moving_things(scene.plan, view.s, view.s - scene.start, time_s)
    seen = [thing for thing in things if view.s + 0.5 < thing.far_s < view.s + _REACH_M]
    for thing in _back_to_front(scene.plan, _in_view(view, seen)):
        if isinstance(thing, Building):
            paint_building(stage, thing)
        elif isinstance(thing, Barrier):
            paint_barrier(stage, thing)
        else:
            _ITEMS[thing.kind](stage, thing)
    if scene.bonnet:
        _bonnet(stage)
    return stage, seen


def _in_view(view: View, things: list[Thing]) -> list[Thing]:
    """Leave out what stands beside the picture; what is long stays."""
    places = np.array([(thing.x, thing.far_s) for thing in things]).reshape(-1, 2)
    points = view.points(places[:, 0], 0.0, places[:, 1])
    half = 0.5 * view.lens.size_hw[1] / view.lens.focal
    inside = np.abs(points[:, 0]) < half * np.maximum(points[:, 2], 0) + _WIDEST_M
    return [thing for thing, near in zip(things, inside, strict=True) if near or not isinstance(thing, Item)]


def _back_to_front(plan: Plan, things: list[Thing]) -> list[Thing]:
    """Order things for painting.

    Far stretches of the street come first. Within one, what is further from the road comes first: a sight line
    leaves the road outwards, so a fence always stands before the garden behind it.
    """
    pieces: list[Thing] = []
    for thing in things:
        pieces += thing.pieces(_STRETCH_M) if isinstance(thing, Barrier) else [thing]
    return sorted(pieces, key=lambda thing: (-((thing.far_s - 1e-6) // _STRETCH_M), -plan.zone(thing.x), -thing.far_s))


def _view(scene: Scene, size_hw: tuple[int, int], time_s: float) -> View:
    height, width = (side * SUPERSAMPLING for side in size_hw)
    sway = np.sin(0.5 * time_s)
    lens = Lens((height, width), scene.focal * max(width, height), width / 2, scene.horizon * height)
    plan = scene.plan
    x = plan.drive_side * plan.lane / 2 + scene.offset + 0.12 * sway
    s = scene.start + scene.speed * time_s
    return View(lens, plan.bend, float(x), float(s), scene.camera_height, scene.yaw + 0.006 * float(sway))


def _bonnet(stage: Stage) -> None:
    # The own car's bonnet: in the picture, but no class of the street.
    rows, columns = stage.canvas.pixels.shape[:2]
    across = np.linspace(0.04, 0.96, 24)
    crest = rows * (0.93 + 0.06 * (2 * across - 1) ** 2)
    for lower, tone in ((0.0, 0.5), (0.012, 0.32), (0.03, 0.26)):
        line = np.column_stack([across * columns, crest + lower * rows])
        outline = np.concatenate([line, [[columns * 0.97, rows + 2], [columns * 0.03, rows + 2]]])
        colour = scaled((92, 88, 86), tone * (1 + max(stage.weather.ambient)))
        stage.canvas.fill(outline, colour, Label.UNLABELLED)
