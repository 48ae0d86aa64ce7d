"""Shadows on the ground: what the sun casts, and the dark below cars."""

from __future__ import annotations

import cv2
import numpy as np

from edgefsa.data.synthetic.camera import Points
from edgefsa.data.synthetic.canvas import SUPERSAMPLING, Floats, Material, Pixels, fixed_point
from edgefsa.data.synthetic.noise import stream
from edgefsa.data.synthetic.stage import Stage
from edgefsa.data.synthetic.street import Building, Item, Thing

_REACH_M = 90.0
_BODY = np.array([[-0.9, 0, -2.1], [0.9, 0, -2.1], [0.9, 0, 2.1], [-0.9, 0, 2.1]])
_TREE_SPREAD = {"broad": 0.42, "round": 0.31, "columnar": 0.16, "conifer": 0.22, "bare": 0.0, "bush": 0.6}


def shade_ground(stage: Stage, things: list[Thing], picture: Floats, material: Pixels) -> None:
    """Darken the ground's pixels where the sun is hidden, and below cars and people."""
    height, width = picture.shape[:2]
    cast = np.zeros((height, width), np.uint8)
    contact = np.zeros((height, width), np.uint8)
    for thing in things:
        if thing.far_s > stage.view.s + _REACH_M:
            continue
        if isinstance(thing, Item) and thing.kind in ("car", "pedestrian", "bicyclist"):
            _contact(stage, thing, contact)
        if stage.weather.casts_shadows:
            for outline in _outlines(stage, thing):
                _fill(stage, cast, outline)
    ground = material > Material.PLAIN
    sun, ambient = np.array(stage.weather.sun), np.array(stage.weather.ambient)
    full = ambient + sun * max(0.0, float(stage.sun[1]))
    depth = (1.0 - ambient * 0.92 / full).astype(np.float32)
    sunless = (cv2.blur(cast, (3, 3)).astype(np.float32) / 255 * ground)[..., None]
    below = (cv2.GaussianBlur(contact, (0, 0), 2.0).astype(np.float32) / 255 * ground)[..., None]
    picture *= 1.0 - sunless * depth
    picture *= 1.0 - 0.55 * below


def _fill(stage: Stage, mask: Pixels, points: Points) -> None:
    outline = stage.view.outline(points)
    if outline is not None:
        cv2.fillPoly(mask, [fixed_point(outline / SUPERSAMPLING)], (255,), cv2.LINE_8, 4)


def _contact(stage: Stage, thing: Item, mask: Pixels) -> None:
    pose = stage.view.pose(thing.x, 0.0 if thing.kind != "pedestrian" else thing.y, thing.s, thing.heading)
    shape = _BODY * ([1.25, 1, 2.6] if thing.variant == "bus" else [1, 1, 1])
    if thing.kind != "car":
        shape = _BODY * ([0.28, 1, 0.12] if thing.kind == "pedestrian" else [0.22, 1, 0.42])
    _fill(stage, mask, pose.place(shape))


def _outlines(stage: Stage, thing: Thing) -> list[Points]:
    """Return the outlines on the ground of a thing's shadow, in camera coordinates."""
    view, sun = stage.view, stage.sun
    slant = -sun / max(float(sun[1]), 0.08)
    slant = slant * [1.0, 0.0, 1.0]
    if isinstance(thing, Building):
        x = [thing.x, thing.x + (-1, 1)[thing.side] * thing.depth]
        foot = view.points(np.array([x[0], x[1], x[1], x[0]]), 0.0, np.array([thing.s0, thing.s0, thing.s1, thing.s1]))
        return [_hull(np.concatenate([foot, foot + slant * min(thing.height, 16.0)]))]
    if not isinstance(thing, Item):
        return []
    foot = view.points(thing.x, 0.0, thing.s)[None]
    if thing.kind == "car":
        base = view.pose(thing.x, 0.0, thing.s, thing.heading).place(_BODY * [1, 1, 0.95])
        return [
            _hull(np.concatenate([base, base + slant * 0.85])),
            _hull(np.concatenate([base * 1.0, base * 0.75 + 0.25 * base.mean(axis=0) + slant * 1.35])),
        ]
    if thing.kind == "tree":
        return _tree(thing, foot, slant)
    tall = {"lamp": thing.size, "sign": 2.9, "pedestrian": 1.7, "bicyclist": 1.6, "bollard": 0.95}.get(thing.kind, 1.0)
    wide = {"lamp": 0.07, "sign": 0.05, "pedestrian": 0.22, "bicyclist": 0.25}.get(thing.kind, 0.1)
    across = np.array([slant[2], 0.0, -slant[0]])
    across = across / max(float(np.linalg.norm(across)), 1e-6) * wide
    top = foot + slant * tall
    return [np.concatenate([foot - across, top - across, top + across, foot + across])]


def _tree(tree: Item, foot: Points, slant: Points) -> list[Points]:
    spread = _TREE_SPREAD[tree.variant] * tree.size
    if not spread:
        return []
    rng = stream(tree.seed, "shadow")
    turn = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    blobs = []
    reach = np.array([slant[0], 0.0, slant[2]])
    for _ in range(10):
        up = tree.size * float(rng.uniform(0.3, 0.95))
        offset = rng.normal(0, 0.4, 2) * spread
        radius = spread * float(rng.uniform(0.25, 0.5))
        ring = np.column_stack([offset[0] + radius * np.cos(turn), np.zeros(10), offset[1] + radius * np.sin(turn)])
        blobs.append(foot + reach * up + ring)
    trunk = np.array([[-0.12, 0, 0], [0.12, 0, 0]])
    blobs.append(np.concatenate([foot + trunk, foot + trunk[::-1] + reach * tree.size * 0.4]))
    return blobs


def _hull(points: Points) -> Points:
    flat = np.ascontiguousarray(points[:, [0, 2]].astype(np.float32))
    chosen = cv2.convexHull(flat, returnPoints=False).ravel()
    hull: Points = points[chosen]
    return hull
