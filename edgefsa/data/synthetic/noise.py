"""Random streams by name, and noise tiles that wrap at their borders (made once a process)."""

from __future__ import annotations

import zlib
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

Tile = npt.NDArray[np.float32]
TILE = 512


def stream(seed: int, *keys: str | int) -> np.random.Generator:
    """Return the random stream that belongs to `seed` and a name, whatever was drawn elsewhere."""
    words = [zlib.crc32(key.encode()) if isinstance(key, str) else key % (1 << 32) for key in keys]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed % (1 << 63), *words])))


@lru_cache(maxsize=8)
def fractal_tile(coarsest: int = 4, octaves: int = 6, persistence: float = 0.55, seed: int = 0) -> Tile:
    """Return smooth noise, float32 [512, 512] in -1 to 1: octaves of random grids from `coarsest` cells up."""
    rng = stream(seed, "fractal")
    total = np.zeros((TILE, TILE), np.float32)
    for octave in range(octaves):
        cells = coarsest << octave
        if cells > TILE:
            break
        grid = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
        total += persistence**octave * _enlarged(grid)
    total -= total.mean()
    total /= max(float(np.abs(total).max()), 1e-6)
    total.setflags(write=False)
    return total


@lru_cache(maxsize=2)
def grain_tile(seed: int = 0) -> Tile:
    """Return fine grain, float32 [512, 512], mean 0 and standard deviation about 0.4."""
    rng = stream(seed, "grain")
    fine = rng.standard_normal((TILE, TILE)).astype(np.float32)
    coarse = _enlarged(rng.standard_normal((TILE // 2, TILE // 2)).astype(np.float32))
    total = 0.3 * fine + 0.3 * coarse
    total.setflags(write=False)
    return total


@lru_cache(maxsize=4)
def joint_tile(cells_across: int, cells_up: int, joint: float, stagger: bool, seed: int = 0) -> Tile:
    """Return a wall or paving, float32 [512, 512]: cells of slightly different tone (about 0) between dark joints.

    `joint` is the tone of the joints (negative is darker); `stagger` shifts every second row by half a cell.
    """
    rng = stream(seed, "joints", cells_across, cells_up)
    rows = np.arange(TILE) * cells_up / TILE
    row = rows.astype(int)
    shift = 0.5 * (row % 2) if stagger else np.zeros(TILE)
    columns = np.arange(TILE)[None] * cells_across / TILE + shift[:, None]
    tones = rng.normal(0, 0.35, (cells_up, cells_across)).astype(np.float32)
    total: Tile = tones[row[:, None], columns.astype(int) % cells_across]
    width = TILE / cells_across, TILE / cells_up
    total[(columns % 1) * width[0] < 1] = joint
    total[((rows % 1) * width[1] < 1)[:, None].repeat(TILE, 1)] = joint
    total.setflags(write=False)
    return total


def crop(tile: Tile, rng: np.random.Generator, height: int, width: int) -> Tile:
    """Cut [height, width] out of a tile at a random place, wrapping as often as needed."""
    down, right = (int(value) for value in rng.integers(0, TILE, 2))
    return tile[np.arange(down, down + height) % TILE][:, np.arange(right, right + width) % TILE]


@lru_cache(maxsize=8)
def wall_tile(material: str) -> npt.NDArray[np.uint8]:
    """Return the pattern of a wall, uint8 [1024, 1024, 3] (a tile twice each way): 128 is the wall's own colour."""
    tone = 0.10 * fractal_tile(coarsest=8, octaves=5, seed=3) + 0.05 * grain_tile()
    if material == "brick":
        tone = tone + 0.16 * joint_tile(64, 128, 0.55, True)
    if material == "stone":
        tone = tone + 0.12 * joint_tile(24, 40, -0.9, True)
    if material in ("concrete", "glass"):
        tone = tone + 0.05 * joint_tile(8, 8, -1.5, False)
    grey = np.clip(128 * (1 + tone), 0, 255).astype(np.uint8)
    tile = np.tile(grey[..., None], (2, 2, 3))
    tile.setflags(write=False)
    return tile


def _enlarged(grid: Tile) -> Tile:
    cells = grid.shape[0]
    pad = 2
    padded = np.pad(grid, pad, mode="wrap")
    scale = TILE // cells
    large = cv2.resize(padded, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    middle = large[pad * scale : pad * scale + TILE, pad * scale : pad * scale + TILE]
    tile: Tile = middle.astype(np.float32)
    return tile
