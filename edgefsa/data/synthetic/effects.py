"""What happens after drawing, at the final resolution: ground texture, shadows, fog, wetness, the camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edgefsa.data.synthetic.canvas import SUPERSAMPLING, Floats, Material, Pixels
from edgefsa.data.synthetic.noise import TILE, fractal_tile, grain_tile, joint_tile
from edgefsa.data.synthetic.stage import Stage

_PIVOT = 96.0


@dataclass(frozen=True)
class CameraLook:
    """How the camera renders light: gain, contrast around mid grey, (B, G, R) balance, and its flaws."""

    exposure: float
    contrast: float
    balance: tuple[float, float, float]
    saturation: float
    vignette: float
    blur: float
    noise: float


def draw_look(rng: np.random.Generator) -> CameraLook:
    """Draw a camera's rendering."""
    warm = float(rng.normal(0, 0.035))
    return CameraLook(
        exposure=float(np.clip(rng.normal(1.04, 0.12), 0.72, 1.3)),
        contrast=float(rng.uniform(1.05, 1.42)),
        balance=(1.0 - warm, 1.0 + float(rng.normal(0, 0.01)), 1.0 + warm),
        saturation=float(rng.uniform(0.55, 1.05)),
        vignette=float(rng.uniform(0.0, 0.28)),
        blur=float(rng.uniform(0.0, 0.6)),
        noise=float(rng.uniform(0.8, 4.0)),
    )


def texture_ground(stage: Stage, picture: Floats, inverse_depth: Floats, material: Pixels) -> None:
    """Multiply the ground's pixels by noise that is fixed to the world and fades with distance."""
    ground = material > Material.PLAIN
    first = int(np.argmax(ground.any(axis=1)))
    if not ground.any():
        return
    rows = slice(first, None)
    depth = 1.0 / np.maximum(inverse_depth[rows], 1e-3)
    lens, view = stage.view.lens, stage.view
    u = np.arange(picture.shape[1], dtype=np.float32) * SUPERSAMPLING
    right = (u - lens.centre_u) / lens.focal * depth
    sine, cosine = np.float32(np.sin(view.heading)), np.float32(np.cos(view.heading))
    east = (cosine * right + sine * depth + view.east).astype(np.float32)
    north = (cosine * depth - sine * right + view.north).astype(np.float32)
    fade = np.clip(12.0 / depth, 0, 1)
    tone = 0.10 * _sampled(fractal_tile(coarsest=8, octaves=6, persistence=0.75, seed=7), east, north, 9.0)
    tone += 0.12 * fade * _sampled(grain_tile(), east, north, 70.0)
    slabs = material[rows] == Material.PAVING
    tone += np.where(slabs, 0.13 * fade * _sampled(joint_tile(16, 16, -1.6, False), east, north, TILE / 9.6), 0)
    grass = material[rows] == Material.GRASS
    tone += np.where(grass, 0.30 * fade * _sampled(fractal_tile(16, 6, 0.85, 5), east, north, 60.0), 0)
    picture[rows] *= (1.0 + np.where(ground[rows], tone, 0))[..., None]


def _sampled(tile: Floats, east: Floats, north: Floats, per_metre: float) -> Floats:
    u, v = east * np.float32(per_metre) % TILE, north * np.float32(per_metre) % TILE
    sampled: Floats = cv2.remap(tile, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return sampled


def mirror_in_wet_ground(stage: Stage, picture: Floats, material: Pixels) -> None:
    """Blend the picture above the horizon, upside down and smeared, into wet ground."""
    wet = stage.weather.wet
    if not wet:
        return
    horizon = int(stage.view.lens.horizon_v / SUPERSAMPLING)
    below = picture.shape[0] - horizon
    source = picture[max(0, horizon - below) : horizon][::-1]
    if not len(source) or below <= 0:
        return
    smeared = cv2.blur(cv2.resize(source, (picture.shape[1], below)), (5, 25))
    share = 0.42 * wet * np.linspace(1.0, 0.45, below, dtype=np.float32)[:, None, None]
    share = share * (material[horizon:] > Material.PLAIN)[..., None]
    picture[horizon:] += (smeared - picture[horizon:]) * share


def add_fog(stage: Stage, picture: Floats, inverse_depth: Floats) -> None:
    """Fade each pixel to the horizon's colour with its distance; the sky is left as it is."""
    weather = stage.weather
    depth = 1.0 / np.maximum(inverse_depth, 1 / 400.0)
    lost = 1.0 - np.exp(-np.float32(weather.fog_per_m) * depth)
    lost[inverse_depth <= 0] = 0.0
    picture += (np.array(weather.horizon, np.float32) - picture) * lost[..., None]


def add_glows(stage: Stage, picture: Floats) -> None:
    """Add light around lamps."""
    lamps = stage.visible_glows()
    if not lamps:
        return
    height, width = picture.shape[:2]
    glow = np.zeros((height // 2, width // 2, 3), np.float32)
    shrink = 2 * SUPERSAMPLING
    for pixel, radius, colour in lamps:
        place = (round(float(pixel[0]) / shrink), round(float(pixel[1]) / shrink))
        cv2.circle(glow, place, max(1, round(radius * 0.35 / shrink)), colour, -1)
    wide = cv2.GaussianBlur(glow, (0, 0), max(2.0, height / 60)) * 1.1 + cv2.GaussianBlur(glow, (0, 0), 1.2) * 0.7
    picture += cv2.resize(wide, (width, height), interpolation=cv2.INTER_LINEAR)


def add_rain(picture: Floats, amount: float, rng: np.random.Generator) -> None:
    """Add faint falling streaks."""
    if not amount:
        return
    height, width = picture.shape[:2]
    drops = (rng.random((height, width), np.float32) > 0.9985).astype(np.float32)
    length = max(5, height // 22)
    streak = np.zeros((length, 5), np.float32)
    cv2.line(streak, (3, 0), (1, length - 1), (1.0,), 1)
    veil = cv2.filter2D(drops, -1, streak)
    picture += (22.0 * amount * np.minimum(veil, 1.0))[..., None]


def photograph(picture: Floats, look: CameraLook, rng: np.random.Generator) -> Pixels:
    """Return the camera's picture, uint8 [H, W, 3]."""
    height, width = picture.shape[:2]
    if look.blur > 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), look.blur)
    mixing = look.saturation * np.eye(3) + (1 - look.saturation) / 3
    gain = look.contrast * look.exposure * np.array(look.balance)
    picture = cv2.transform(picture, gain[:, None] * mixing)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    picture *= (1.0 - np.float32(look.vignette) * 0.5 * (x * x + y * y))[..., None]
    noise = rng.standard_normal((height, width), np.float32) * np.float32(look.noise)
    picture += (noise + np.float32(_PIVOT * (1 - look.contrast)))[..., None]
    return np.clip(picture, 0, 255, out=picture).astype(np.uint8)
