"""House fronts as flat textures: walls of brick, render, stone or glass with windows, doors and shops."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from edgefsa.data.synthetic.canvas import Colour, Pixels, lit_texture
from edgefsa.data.synthetic.noise import TILE, stream, wall_tile
from edgefsa.data.synthetic.weather import mixed, scaled

# (B, G, R) of walls, by material.
_WALLS: dict[str, tuple[Colour, ...]] = {
    "brick": ((62, 84, 140), (74, 92, 134), (84, 116, 150), (112, 146, 172), (128, 158, 182), (70, 78, 108)),
    "render": ((205, 216, 222), (188, 206, 218), (206, 208, 206), (176, 196, 214), (198, 190, 170), (150, 176, 214)),
    "stone": ((140, 154, 164), (156, 168, 176), (118, 130, 140)),
    "concrete": ((150, 152, 152), (126, 132, 136), (168, 170, 168)),
    "glass": ((126, 112, 96), (108, 100, 92), (96, 108, 96)),
}
_STYLE_WALLS: dict[str, tuple[tuple[str, float], ...]] = {
    "town": (("brick", 0.5), ("render", 0.25), ("stone", 0.25)),
    "terrace": (("brick", 0.72), ("render", 0.28)),
    "villas": (("brick", 0.6), ("render", 0.4)),
    "offices": (("concrete", 0.4), ("glass", 0.25), ("brick", 0.35)),
}
_TRIMS: tuple[Colour, ...] = ((225, 228, 230), (205, 212, 216), (70, 70, 72), (92, 110, 84), (170, 190, 200))
_SHOPS: tuple[Colour, ...] = (
    (40, 40, 170),
    (120, 60, 30),
    (60, 100, 40),
    (50, 50, 52),
    (40, 150, 210),
    (150, 120, 40),
    (210, 210, 205),
)
_GLASS: Colour = (62, 54, 48)


@dataclass(frozen=True)
class Front:
    """How a house looks; lengths in metres."""

    wall: str
    colour: Colour
    trim: Colour
    storey: float
    window: tuple[float, float]
    pitch: float
    shop: bool
    shop_colour: Colour
    flat_roof: bool
    roof: Colour
    roof_rise: float


@lru_cache(maxsize=256)
def draw_front(style: str, seed: int) -> Front:
    """Draw the looks of a house of a style."""
    rng = stream(seed, "front")
    walls = _STYLE_WALLS[style]
    wall = str(rng.choice([name for name, _ in walls], p=[share for _, share in walls]))
    colour = _WALLS[wall][int(rng.integers(len(_WALLS[wall])))]
    offices = style == "offices"
    flat = offices or (style == "town" and rng.random() < 0.3)
    window = (
        (float(rng.uniform(1.3, 2.4)), float(rng.uniform(1.3, 1.8)))
        if offices
        else (float(rng.uniform(0.85, 1.25)), float(rng.uniform(1.3, 1.8)))
    )
    roofs: tuple[Colour, ...] = ((70, 76, 84), (60, 72, 108), (84, 82, 78), (66, 86, 128))
    return Front(
        wall=wall,
        colour=scaled(colour, float(rng.uniform(0.82, 1.12))),
        trim=_TRIMS[int(rng.integers(len(_TRIMS)))],
        storey=float(rng.uniform(2.7, 3.3)),
        window=window,
        pitch=window[0] * float(rng.uniform(1.25, 1.5) if offices else rng.uniform(1.7, 2.3)),
        shop=style == "town" and bool(rng.random() < 0.65),
        shop_colour=_SHOPS[int(rng.integers(len(_SHOPS)))],
        flat_roof=bool(flat),
        roof=roofs[int(rng.integers(len(roofs)))],
        roof_rise=float(rng.uniform(1.8, 3.2)),
    )


@lru_cache(maxsize=192)
def front_texture(style: str, seed: int, width_m: float, height_m: float, scale: int, lights: int) -> Pixels:
    """Draw a house front, uint8 [h, w, 3] BGR at `scale` pixels a metre; `lights` percent of its windows are lit."""
    front = draw_front(style, seed)
    rng = stream(seed, "texture", int(width_m * 100))
    image = wall_texture(front, width_m, height_m, scale, stream(seed, "wall"))
    floors = max(1, round(height_m / front.storey))
    storey = height_m / floors
    windows = _Windows(front, scale, rng, lights)
    for floor in range(floors):
        base = height_m - floor * storey
        if floor == 0:
            _ground_floor(image, front, base, storey, width_m, scale, rng, windows)
        else:
            windows.row(image, base - 0.28 * storey, width_m, min(front.window[1], 0.62 * storey))
    _trim(image, front, storey, floors, height_m, scale)
    return image


def wall_texture(front: Front, width_m: float, height_m: float, scale: int, rng: np.random.Generator) -> Pixels:
    """Draw a bare wall, uint8 [h, w, 3] BGR, with the pattern and the stains of its material."""
    height, width = max(2, round(height_m * scale)), max(2, round(width_m * scale))
    tile = wall_tile(front.wall)
    down, right = (int(value) for value in rng.integers(0, TILE, 2))
    if height > TILE or width > TILE:
        rows, columns = (down + np.arange(height)) % TILE, (right + np.arange(width)) % TILE
        pattern = tile[rows][:, columns]
    else:
        pattern = tile[down : down + height, right : right + width]
    image = lit_texture(pattern, (front.colour[0] / 128, front.colour[1] / 128, front.colour[2] / 128))
    splash = min(height, 2 * scale)
    dirt = 1.0 - 0.16 * np.exp(-np.linspace(2, 0, splash, dtype=np.float32) / 0.8)
    image[-splash:] = (image[-splash:] * dirt[:, None, None]).astype(np.uint8)
    return image


class _Windows:
    """A few window pictures of one front, and rows of them."""

    def __init__(self, front: Front, scale: int, rng: np.random.Generator, lights: int) -> None:
        self._front, self._scale, self._rng, self._lights = front, scale, rng, lights
        self._made: dict[tuple[int, int, int], Pixels] = {}

    def row(
        self, image: Pixels, bottom_m: float, width_m: float, height_m: float, skip: tuple[float, float] = (0, 0)
    ) -> None:
        """Set windows side by side with their sills at `bottom_m` (metres from the top), none within `skip`."""
        front, scale = self._front, self._scale
        count = max(1, int((width_m - 0.5) / front.pitch))
        margin = 0.5 * (width_m - (count - 1) * front.pitch)
        for index in range(count):
            middle = margin + index * front.pitch
            variant = int(self._rng.integers(4)) + (4 if self._rng.integers(100) < self._lights else 0)
            if skip[0] - front.window[0] / 2 < middle < skip[1] + front.window[0] / 2:
                continue
            pane = self._pane(variant, round(front.window[0] * scale), round(height_m * scale))
            _paste(image, pane, round((middle - front.window[0] / 2) * scale), round((bottom_m - height_m) * scale))

    def _pane(self, variant: int, width: int, height: int) -> Pixels:
        key = (variant, width, height)
        if key not in self._made:
            self._made[key] = window_picture(variant, max(2, width), max(2, height), self._front, self._scale)
        return self._made[key]


def window_picture(variant: int, width: int, height: int, front: Front, scale: int) -> Pixels:
    """Draw one window with frame, glazing bars and sill; variants 4 to 7 have the light on."""
    lit = variant >= 4
    if scale < 16:
        return _far_window(lit, width, height, front)
    rng = stream(variant, "window")
    glass: Colour = (120.0, 196.0, 240.0) if lit else scaled(_GLASS, float(rng.uniform(0.6, 1.4)))
    down = np.linspace(1.25, 0.8, height, dtype=np.float32)[:, None, None]
    picture = np.clip(down * np.array(glass, np.float32), 0, 255).repeat(width, axis=1).astype(np.uint8)
    if not lit:
        # The pane mirrors a piece of sky along one slanted edge.
        reach = float(rng.uniform(0.2, 0.9)) * width
        gleam = np.array([[0, 0], [reach, 0], [reach * 0.4, height], [0, height]], np.int32)
        cv2.fillPoly(picture, [gleam], scaled((150, 136, 122), float(rng.uniform(0.55, 1.0))))
    if variant % 4 == 1:
        blind = round(height * float(rng.uniform(0.2, 0.6)))
        picture[:blind] = (np.array([190, 200, 205]) * (1.0 if lit else 0.75)).astype(np.uint8)
    if variant % 4 == 2:
        side = max(1, width // 5)
        picture[:, :side] = picture[:, -side:] = (170, 178, 182) if not lit else (140, 190, 220)
    bar = max(1, round(0.06 * scale))
    cv2.rectangle(picture, (0, 0), (width - 1, height - 1), front.trim, bar)
    if front.wall not in ("glass", "concrete"):
        cv2.line(picture, (0, height // 2), (width, height // 2), front.trim, bar)
    cv2.line(picture, (width // 2, 0), (width // 2, height), front.trim, max(1, bar // 2))
    picture[-max(1, round(0.1 * scale)) :] = scaled(mixed(front.trim, front.colour, 0.3), 0.95)
    picture[: max(1, round(0.05 * scale))] = scaled(front.colour, 0.55)
    return picture


def _far_window(lit: bool, width: int, height: int, front: Front) -> Pixels:
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = (120, 196, 240) if lit else mixed(_GLASS, front.trim, 0.15)
    picture[: height // 3] = mixed(_GLASS, (150, 136, 122), 0.4)
    picture[-1:] = np.clip(front.trim, 0, 255)
    return picture


def _ground_floor(
    image: Pixels,
    front: Front,
    base: float,
    storey: float,
    width: float,
    scale: int,
    rng: np.random.Generator,
    windows: _Windows,
) -> None:
    if front.shop:
        _shop(image, front, base, storey, width, scale, rng)
        return
    door_width = 1.0
    at = float(rng.uniform(0.4, max(0.5, width - 1.6)))
    windows.row(image, base - 0.9, width, min(front.window[1], storey - 1.3), (at - 0.3, at + door_width + 0.3))
    colours: tuple[Colour, ...] = (
        (40, 40, 110),
        (80, 60, 30),
        (50, 80, 40),
        (45, 45, 45),
        (150, 150, 150),
        (50, 80, 120),
    )
    colour = colours[int(rng.integers(len(colours)))]
    top = base - 2.15
    _box(image, at - 0.12, top - 0.45, at + door_width + 0.12, base, front.trim, scale)
    _box(image, at, top - 0.33, at + door_width, top - 0.05, _GLASS, scale)
    _box(image, at, top, at + door_width, base, colour, scale)
    _box(image, at + 0.15, top + 0.2, at + 0.42, top + 0.9, scaled(colour, 0.7), scale)
    _box(image, at + 0.58, top + 0.2, at + 0.85, top + 0.9, scaled(colour, 0.7), scale)


def _shop(
    image: Pixels, front: Front, base: float, storey: float, width: float, scale: int, rng: np.random.Generator
) -> None:
    colour = front.shop_colour
    top = base - storey + 0.1
    _box(image, 0.1, top, width - 0.1, base, scaled(colour, 0.75), scale)
    _box(image, 0.1, top, width - 0.1, top + 0.75, colour, scale)
    letter = (235, 240, 240) if sum(colour) < 400 else (40, 40, 60)
    at = float(rng.uniform(0.5, max(0.6, width * 0.35)))
    for _ in range(int(rng.integers(5, 12))):
        step = float(rng.uniform(0.15, 0.32))
        if at + step > width - 0.5:
            break
        _box(image, at, top + 0.22, at + step * 0.7, top + 0.22 + float(rng.choice([0.25, 0.34])), letter, scale)
        at += step
    panes = max(1, round(width / 2.6))
    pane = (width - 0.4) / panes
    door = int(rng.integers(panes))
    for index in range(panes):
        left = 0.2 + index * pane
        bottom = base - (0.05 if index == door else 0.45)
        inside: Colour = (70.0, 96.0, 112.0) if rng.random() < 0.6 else (52.0, 50.0, 48.0)
        _box(image, left + 0.08, top + 0.9, left + pane - 0.08, bottom, inside, scale)
        for _ in range(4):
            x, y = left + float(rng.uniform(0.1, pane - 0.5)), top + float(rng.uniform(1.1, 1.9))
            goods: Colour = (float(rng.integers(40, 220)), float(rng.integers(40, 220)), float(rng.integers(40, 220)))
            right = min(x + float(rng.uniform(0.2, 0.6)), left + pane - 0.1)
            _box(image, x, y, right, min(y + float(rng.uniform(0.2, 0.6)), bottom), mixed(goods, inside, 0.45), scale)
        if index == door:
            _box(image, left + pane * 0.5 - 0.03, top + 0.9, left + pane * 0.5 + 0.03, bottom, colour, scale)
    if rng.random() < 0.35:
        _awning(image, top + 0.7, width, colour, scale)


def _awning(image: Pixels, top: float, width: float, colour: Colour, scale: int) -> None:
    for index in range(int(width / 0.4)):
        stripe = colour if index % 2 else (225, 228, 230)
        _box(image, 0.2 + 0.4 * index, top, min(0.6 + 0.4 * index, width - 0.2), top + 0.75, stripe, scale)


def _trim(image: Pixels, front: Front, storey: float, floors: int, height_m: float, scale: int) -> None:
    width = image.shape[1] / scale
    light = mixed(front.trim, front.colour, 0.5)
    _box(image, 0, 0, width, 0.28, scaled(light, 0.95), scale)
    _box(image, 0, 0.28, width, 0.36, scaled(front.colour, 0.6), scale)
    if front.wall in ("stone", "render") or front.shop:
        for floor in range(1, floors):
            y = height_m - floor * storey
            _box(image, 0, y, width, y + 0.14, light, scale)
    if front.wall != "glass":
        _box(image, width - 0.22, 0.3, width - 0.12, height_m, scaled(front.colour, 0.45), scale)


def _box(image: Pixels, x0: float, y0: float, x1: float, y1: float, colour: Colour, scale: int) -> None:
    # Metres from the top left; slicing clips, and OpenCV's rectangle would include its far edge.
    rows = slice(max(0, round(y0 * scale)), max(0, round(y1 * scale)))
    columns = slice(max(0, round(x0 * scale)), max(0, round(x1 * scale)))
    image[rows, columns] = np.clip(colour, 0, 255)


def _paste(image: Pixels, picture: Pixels, left: int, top: int) -> None:
    left, top = max(0, left), max(0, top)
    region = image[top : top + picture.shape[0], left : left + picture.shape[1]]
    region[...] = picture[: region.shape[0], : region.shape[1]]
