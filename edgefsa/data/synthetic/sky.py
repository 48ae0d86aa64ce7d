"""The sky with its clouds, and what stands on the horizon."""

from __future__ import annotations

import cv2
import numpy as np

from edgefsa.data.synthetic.camera import Points
from edgefsa.data.synthetic.canvas import Pixels
from edgefsa.data.synthetic.labels import Label
from edgefsa.data.synthetic.noise import TILE, fractal_tile, stream
from edgefsa.data.synthetic.stage import Stage
from edgefsa.data.synthetic.weather import mixed, scaled

_COARSE = 4
_CLOUD_HEIGHT = 90.0


def paint_sky(stage: Stage) -> None:
    """Fill the whole canvas with sky: a gradient, clouds in perspective, the glow around the sun."""
    columns = stage.canvas.pixels.shape[1]
    rows = min(stage.canvas.pixels.shape[0], int(stage.view.lens.horizon_v) + 2 * _COARSE)
    small = _sky(stage, rows // _COARSE + 1, columns // _COARSE + 1)
    large = cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR)
    stage.canvas.pixels[:rows] = cv2.cvtColor(large, cv2.COLOR_BGR2BGRA)
    stage.canvas.pixels[..., 3] = Label.SKY


def _sky(stage: Stage, rows: int, columns: int) -> Pixels:
    weather, lens = stage.weather, stage.view.lens
    right = ((np.arange(columns, dtype=np.float64) * _COARSE - lens.centre_u) / lens.focal)[None]
    up = ((lens.horizon_v - np.arange(rows, dtype=np.float64) * _COARSE) / lens.focal)[:, None]
    height: Points = np.maximum(up, 0.0)
    share = np.clip(height * 1.9, 0, 1)[..., None] ** 0.7
    colour = np.array(weather.horizon) * (1 - share) + np.array(weather.zenith) * share
    cover = _clouds(stage, right, height)[..., None]
    light = np.array(mixed(weather.cloud, weather.horizon, 0.25)) * (1 - 0.12 * cover)
    colour = colour * (1 - cover) + light * cover
    sun = stage.sun
    if sun[2] > 0.1 and weather.casts_shadows:
        distance = np.hypot(right - sun[0] / sun[2], up - sun[1] / sun[2])[..., None]
        glow = np.exp(-((distance / 0.22) ** 1.2)) * (0.4 + 0.4 * weather.dusk)
        colour = colour + (np.array([225, 245, 255.0]) - colour) * glow
    sky: Pixels = np.clip(colour, 0, 255).astype(np.uint8)
    return sky


def _clouds(stage: Stage, right: Points, height: Points) -> Points:
    # Clouds lie on a plane overhead, so they flatten and crowd together towards the horizon.
    weather, heading = stage.weather, stage.view.heading
    forward = _CLOUD_HEIGHT / (height + 0.12)
    sideways = forward * right
    east = forward * np.sin(heading) + sideways * np.cos(heading)
    north = forward * np.cos(heading) - sideways * np.sin(heading)
    rows = (north + weather.cloud_offset[0]).astype(int) % TILE
    columns = (east + weather.cloud_offset[1]).astype(int) % TILE
    density = fractal_tile(coarsest=4, octaves=6, persistence=0.6, seed=11)[rows, columns]
    cover: Points = np.clip((density - 0.35 + 0.75 * weather.cloud_cover) * 2.4, 0, 1) * np.clip(
        height * 9 + 0.25, 0, 1
    )
    return cover


def paint_horizon(stage: Stage, seed: int) -> None:
    """Paint a far row of trees and roofs that closes the view; it turns with the camera."""
    rng = stream(seed, "horizon")
    lens, weather = stage.view.lens, stage.weather
    count = 96
    angles = np.linspace(-np.pi, np.pi, count, endpoint=False)
    trees = 0.012 + 0.02 * rng.random(count) + 0.012 * np.sin(np.arange(count) * 0.7)
    houses = np.where(rng.random(count) < 0.35, 0.022 + 0.03 * rng.random(count), 0.0)
    turn = (angles - stage.view.heading + np.pi) % (2 * np.pi) - np.pi
    order = np.argsort(turn)
    u = lens.centre_u + lens.focal * np.tan(np.clip(turn[order], -1.2, 1.2))
    base = lens.horizon_v + 4
    half = lens.focal * np.pi / count
    for kind, heights, colour in (
        (Label.BUILDING, houses[order], (96.0, 104.0, 112.0)),
        (Label.TREE, trees[order], (58.0, 78.0, 66.0)),
    ):
        surface = stage.canvas.surface(kind, (1 / 260.0, 0.0, 0.0))
        tone = scaled(colour, max(stage.light(np.array([0, 0.3, -0.95]))) + 0.05)
        tone = mixed(tone, weather.horizon, 0.25)
        if kind == Label.BUILDING:
            for at, height in zip(u, heights, strict=True):
                if height:
                    top = lens.horizon_v - height * lens.focal
                    box = np.array([[at - half, base], [at - half, top], [at + half, top], [at + half, base]])
                    stage.canvas.fill(box, tone, surface)
        else:
            steps = np.linspace(u[0], u[-1], 6 * count)
            crest = np.interp(steps, u, heights) * (1 + 0.22 * np.sin(np.arange(6 * count) * 2.1))
            top_line = np.stack([steps, lens.horizon_v - crest * lens.focal], axis=1)
            ends = np.array([[steps[-1], base], [steps[0], base]])
            stage.canvas.fill(np.concatenate([top_line, ends]), tone, surface)
