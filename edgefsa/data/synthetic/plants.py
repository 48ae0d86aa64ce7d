"""Trees and bushes: crowns as shaded, leafy sprites (drawn once a process), trunks and bare branches."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from edgefsa.data.synthetic.camera import Points
from edgefsa.data.synthetic.canvas import Colour, Pixels, lit_texture
from edgefsa.data.synthetic.labels import Label
from edgefsa.data.synthetic.noise import crop, fractal_tile, grain_tile, stream
from edgefsa.data.synthetic.stage import Stage
from edgefsa.data.synthetic.street import Item
from edgefsa.data.synthetic.weather import mixed, scaled

_SPRITE = 256
_VARIANTS = 3

# variant -> (crown width and height as shares of the tree's height, where the crown begins)
_SHAPES: dict[str, tuple[float, float, float]] = {
    "broad": (0.85, 0.76, 0.24),
    "round": (0.62, 0.70, 0.30),
    "columnar": (0.30, 0.84, 0.16),
    "conifer": (0.46, 0.92, 0.08),
    "bare": (0.80, 0.80, 0.20),
    "bush": (1.25, 1.0, 0.0),
}
_LEAVES: tuple[Colour, ...] = ((48, 98, 80), (60, 112, 98), (44, 82, 68), (64, 116, 114), (58, 92, 102), (58, 104, 136))
_BARK: Colour = (66, 78, 90)


def paint_tree(stage: Stage, tree: Item) -> None:
    """Paint a tree (or bush) that stands at the item's place; `size` is its height in metres."""
    foot = stage.view.points(tree.x, tree.y, tree.s)
    depth = float(foot[2])
    if depth < 2.0:
        return
    rng = stream(tree.seed, "tree")
    scale = stage.view.scale(depth)
    width, height, begin = _SHAPES[tree.variant]
    surface = stage.canvas.surface_at(Label.TREE, depth)
    base = stage.view.project(foot)
    lean = float(rng.normal(0, 0.02)) * tree.size
    bark = stage.lit_round(scaled(_BARK, float(rng.uniform(0.7, 1.2))))
    if tree.variant != "bush":
        top = base + np.array([lean, -(begin + 0.35 * height) * tree.size]) * scale
        _trunk(stage, base, top, 0.03 * tree.size * scale, bark, surface)
    mirrored = bool(stage.sun[0] > 0)
    size = (max(2, round(width * tree.size * scale)), max(2, round(height * tree.size * scale)))
    corner = (round(base[0] + lean * scale - size[0] / 2), round(base[1] - begin * tree.size * scale) - size[1])
    side = next(side for side in (32, 64, 128, _SPRITE) if side > max(size) or side == _SPRITE)
    if tree.variant == "bare":
        colour = bark
        sprite, mask = _sprite("bare", tree.seed % _VARIANTS, False, mirrored, side)
    else:
        leaf = _LEAVES[int(rng.choice(len(_LEAVES), p=[0.24, 0.2, 0.24, 0.14, 0.12, 0.06]))]
        if tree.variant == "conifer":
            leaf = mixed(leaf, (52, 72, 46), 0.7)
        colour = stage.lit(scaled(leaf, float(rng.uniform(0.85, 1.2))), _towards_light(stage))
        sprite, mask = _sprite(tree.variant, tree.seed % _VARIANTS, stage.weather.casts_shadows, mirrored, side)
    _stamp(stage, sprite, mask, size, corner, colour, surface)


def _stamp(
    stage: Stage,
    sprite: Pixels,
    mask: Pixels,
    size: tuple[int, int],
    corner: tuple[int, int],
    colour: Colour,
    surface: int,
) -> None:
    rows, columns = stage.canvas.pixels.shape[:2]
    left, top = max(corner[0], 0), max(corner[1], 0)
    width, height = min(corner[0] + size[0], columns) - left, min(corner[1] + size[1], rows) - top
    if width <= 0 or height <= 0:
        return
    light = (colour[0] / 128, colour[1] / 128, colour[2] / 128)
    if max(size) < sprite.shape[0]:
        shaded = lit_texture(cv2.resize(sprite, size, interpolation=cv2.INTER_AREA), light)
        cover = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
        stage.canvas.stamp(shaded, _solid(cover), corner, surface)
        return
    # Larger than the sprite: only what shows is enlarged.
    scale_x, scale_y = size[0] / sprite.shape[1], size[1] / sprite.shape[0]
    matrix = np.array(
        [[scale_x, 0, corner[0] - left + 0.5 * scale_x - 0.5], [0, scale_y, corner[1] - top + 0.5 * scale_y - 0.5]]
    )
    shaded = cv2.warpAffine(lit_texture(sprite, light), matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(mask, matrix, (width, height))
    stage.canvas.stamp(shaded, _solid(cover), (left, top), surface)


def _solid(cover: Pixels) -> Pixels:
    return (cover > 110).astype(np.uint8)


def _towards_light(stage: Stage) -> Points:
    direction = np.array([0.0, 0.75, -0.66])
    return direction if not stage.weather.casts_shadows else 0.5 * direction + 0.5 * stage.sun


def _trunk(stage: Stage, base: Points, top: Points, width: float, colour: Colour, surface: int) -> None:
    half = np.array([max(0.5, width / 2), 0.0])
    flare = np.array([max(0.7, width * 0.8), 0.0])
    knee = base + (top - base) * 0.12
    outline = np.array([base - flare, knee - half, top - half * 0.6, top + half * 0.6, knee + half, base + flare])
    stage.canvas.fill(outline, colour, surface)
    if width > 5:
        shadow = np.array([base, knee, top, top + half * 0.6, knee + half, base + flare])
        stage.canvas.fill(shadow, scaled(colour, 0.72), surface)


@lru_cache(maxsize=256)
def _sprite(shape: str, variant: int, sunny: bool, mirrored: bool, side: int) -> tuple[Pixels, Pixels]:
    """Return a crown's shading uint8 [side, side, 3] and mask uint8 [side, side]; lit from the left, or mirrored."""
    if side < _SPRITE:
        shading, mask = _sprite(shape, variant, sunny, mirrored, 2 * side)
        return cv2.resize(shading, (side, side)), cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA)
    if mirrored:
        shading, mask = _sprite(shape, variant, sunny, False, side)
        return np.ascontiguousarray(shading[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
    return _bare_crown(variant) if shape == "bare" else _leafy_crown(shape, variant, sunny)


def _leafy_crown(shape: str, variant: int, sunny: bool) -> tuple[Pixels, Pixels]:
    """Draw a crown lit from the left: shading (128 is the leaf's own colour) and mask, both of 256 x 256."""
    rng = stream(variant, "crown", shape)
    y, x = np.mgrid[0:_SPRITE, 0:_SPRITE].astype(np.float32)
    height = np.full((_SPRITE, _SPRITE), -1e3, np.float32)
    for across, down, radius in _clusters(shape, rng):
        centre_x, centre_y, size = across * _SPRITE, down * _SPRITE, radius * _SPRITE
        squared = size * size - (x - centre_x) ** 2 - (y - centre_y) ** 2
        np.maximum(height, np.sqrt(np.maximum(squared, 0)) + np.minimum(squared, 0) / size, out=height)
    leaves = crop(fractal_tile(coarsest=16, octaves=6, persistence=0.85, seed=5), rng, _SPRITE, _SPRITE)
    fine = crop(grain_tile(), rng, _SPRITE, _SPRITE)
    ragged = height + 26 * leaves + 5 * fine
    mask = (ragged > 9).astype(np.uint8) * 255
    surface = cv2.GaussianBlur(np.maximum(height, 0) + 14 * leaves, (0, 0), 1.5)
    slope_x, slope_y = (
        cv2.Sobel(surface, cv2.CV_32F, 1, 0, scale=0.125),
        cv2.Sobel(surface, cv2.CV_32F, 0, 1, scale=0.125),
    )
    steep = np.sqrt(1 + slope_x**2 + slope_y**2)
    lit = (0.55 * slope_x + 0.75 * slope_y + 0.35) / steep
    contrast = 0.55 if sunny else 0.38
    tone = 0.74 + contrast * lit + 0.34 * leaves + 0.16 * fine - 0.2 * (y / _SPRITE - 0.4)
    green = np.clip(tone * 128, 22, 255)
    return np.stack([green * 0.96, green, green * (0.9 + 0.12 * lit)], axis=-1).clip(0, 255).astype(np.uint8), mask


def _clusters(shape: str, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Return the leaf clusters of a crown as (x, y, radius) in shares of the sprite."""
    clusters = []
    for _ in range(70):
        if shape == "conifer":
            down = float(rng.uniform(0.06, 0.95))
            reach = 0.06 + 0.40 * down
            clusters.append((0.5 + float(rng.uniform(-reach, reach)) * 0.85, down, 0.05 + 0.06 * down))
        else:
            angle, radius = float(rng.uniform(0, 2 * np.pi)), float(np.sqrt(rng.uniform(0, 1))) * 0.36
            flat = 0.8 if shape == "bush" else 1.0
            across, down = 0.5 + radius * np.cos(angle), 0.5 + radius * np.sin(angle) * flat
            clusters.append(
                (float(across), float(down) + (0.1 if shape == "bush" else 0), float(rng.uniform(0.05, 0.13)))
            )
    if shape == "bush":
        clusters += [(float(rng.uniform(0.15, 0.85)), 0.9, 0.12) for _ in range(8)]
    return clusters


def _bare_crown(variant: int) -> tuple[Pixels, Pixels]:
    """Draw a winter crown: branches and twigs; shading and mask as for leaves."""
    rng = stream(variant, "branches")
    large = 2 * _SPRITE
    mask = np.zeros((large, large), np.uint8)
    _branch(mask, np.array([large / 2, large]), -np.pi / 2, large * 0.25, 15.0, 8, rng)
    mask = cv2.resize(mask, (_SPRITE, _SPRITE), interpolation=cv2.INTER_AREA)
    tone = 128 * (0.9 + 0.3 * crop(grain_tile(), rng, _SPRITE, _SPRITE))
    return np.clip(tone, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2), mask


def _branch(
    mask: Pixels, start: Points, angle: float, length: float, width: float, depth: int, rng: np.random.Generator
) -> None:
    end = start + length * np.array([np.cos(angle), np.sin(angle)])
    cv2.line(mask, tuple(start.astype(int).tolist()), tuple(end.astype(int).tolist()), (255,), max(2, round(width)))
    if depth == 0:
        return
    for side in (-1, 0, 1) if depth > 4 else (-1, 1):
        spread = side * float(rng.uniform(0.3, 0.62)) + float(rng.normal(0, 0.1))
        share = float(rng.uniform(0.6, 0.84))
        _branch(mask, end, angle + spread, length * share, width * 0.66, depth - 1 - (side == 0), rng)
