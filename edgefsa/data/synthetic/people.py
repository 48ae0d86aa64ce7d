"""Pedestrians and bicyclists as jointed figures of rounded limbs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgefsa.data.synthetic.camera import Points
from edgefsa.data.synthetic.canvas import Colour
from edgefsa.data.synthetic.labels import Label
from edgefsa.data.synthetic.noise import stream
from edgefsa.data.synthetic.stage import Stage
from edgefsa.data.synthetic.street import Item
from edgefsa.data.synthetic.weather import scaled

_SKIN: tuple[Colour, ...] = ((150, 176, 214), (120, 150, 196), (70, 98, 146), (50, 70, 104))
_HAIR: tuple[Colour, ...] = ((28, 30, 34), (40, 56, 78), (70, 110, 150), (120, 124, 128))
_JACKETS: tuple[Colour, ...] = (
    (34, 32, 32), (60, 42, 32), (44, 44, 46), (38, 34, 110), (100, 66, 34), (46, 70, 46), (28, 28, 30),
    (140, 140, 138), (34, 58, 80), (190, 190, 190), (100, 50, 90), (40, 150, 180), (76, 76, 80), (48, 36, 28),
)  # fmt: skip
_TROUSERS: tuple[Colour, ...] = ((28, 26, 26), (74, 50, 36), (54, 44, 38), (46, 50, 58), (96, 112, 124))
_TYRE: Colour = (32, 32, 32)

# A bicycle's tubes and handlebar, through (right, up, forward) metres.
_FRAME: tuple[tuple[tuple[float, float, float], ...], ...] = (
    ((0.0, 0.34, -0.53), (0.0, 0.3, -0.06), (0.0, 0.82, -0.18), (0.0, 0.34, -0.53)),
    ((0.0, 0.3, -0.06), (0.0, 0.84, 0.36), (0.0, 0.34, 0.53)),
    ((0.0, 0.8, -0.18), (0.0, 0.8, 0.36)),
)
_HANDLEBAR: tuple[tuple[tuple[float, float, float], ...], ...] = (
    ((-0.26, 1.02, 0.36), (0.26, 1.02, 0.36)),
    ((0.0, 0.8, 0.36), (0.0, 1.02, 0.36)),
)


class _Figure:
    """Draws limbs between joints given in the figure's own frame (right, up, forward metres)."""

    def __init__(self, stage: Stage, item: Item, label: Label) -> None:
        self.stage = stage
        self.pose = stage.view.pose(item.x, item.y, item.s, item.heading)
        self.depth = float(self.pose.origin[2])
        self.scale = stage.view.scale(self.depth)
        self.size = item.size
        self.surface = stage.canvas.surface_at(label, self.depth)

    def pixels(self, joints: Sequence[tuple[float, float, float]]) -> Points:
        """Project joints."""
        return self.stage.view.project(self.pose.place(np.array(joints) * self.size))

    def limb(self, joints: Sequence[tuple[float, float, float]], width: float, colour: Colour) -> None:
        """Draw a limb of a width in metres through its joints."""
        self.stage.canvas.line(
            self.pixels(joints), width * self.size * self.scale, self.stage.lit_round(colour), self.surface
        )

    def ball(self, joint: tuple[float, float, float], radius: float, colour: Colour) -> None:
        """Draw a ball."""
        place = self.pixels([joint])[0]
        self.stage.canvas.disc(place, radius * self.size * self.scale, self.stage.lit_round(colour), self.surface)

    def body(self, sections: Sequence[tuple[float, float, float]], colour: Colour) -> None:
        """Draw a trunk through sections (up, half width, forward), widths as seen by the camera."""
        middles = self.pixels([(0.0, up, forward) for up, _, forward in sections])
        half = np.array([[wide * self.size * self.scale, 0.0] for _, wide, _ in sections])
        outline = np.concatenate([middles - half, (middles + half)[::-1]])
        lit = self.stage.lit_round(colour)
        self.stage.canvas.fill(outline, lit, self.surface)
        if self.scale > 40:
            shaded = np.concatenate([middles + half * 0.35, (middles + half)[::-1]])
            self.stage.canvas.fill(shaded, scaled(lit, 0.8), self.surface)


def _pick(options: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    return scaled(options[int(rng.integers(len(options)))], float(rng.uniform(0.85, 1.15)))


def paint_pedestrian(stage: Stage, person: Item) -> None:
    """Paint someone who walks (phase in radians) or stands (`variant` "standing")."""
    figure = _Figure(stage, person, Label.PEDESTRIAN)
    if figure.depth < 2.0:
        return
    rng = stream(person.seed, "person")
    jacket, trousers = _pick(_JACKETS, rng), _pick(_TROUSERS, rng)
    skin, hair = _pick(_SKIN, rng), _pick(_HAIR, rng)
    swing = 0.0 if person.variant == "standing" else np.sin(person.phase)
    coat, bag, turned = rng.random() < 0.3, rng.random() < 0.35, figure.pose.axes[2][2] > 0
    far = -1 if figure.pose.axes[0] @ figure.pose.origin > 0 else 1
    for side in (far, -far):
        step = side * swing * 0.36
        lift = 0.08 * max(0.0, -step)
        knee = (side * 0.1, 0.5, step * 0.5 + 0.05)
        ankle = (side * 0.1, 0.09 + lift, step)
        figure.limb([(side * 0.09, 0.92, 0.0), knee, ankle], 0.155, scaled(trousers, 0.85 if side == far else 1.0))
        figure.limb([ankle, (side * 0.1, 0.05 + lift, step + 0.14)], 0.1, (34, 34, 36))
        if side == far:
            _arm(figure, side, -step, jacket, skin)
            hem = 0.55 if coat else 0.86
            wide = 0.13 + 0.08 * abs(float(figure.pose.axes[0][0]))
            figure.body(
                [
                    (hem, wide * (0.95 if coat else 0.8), 0),
                    (1.1, wide * 0.82, 0),
                    (1.38, wide, 0),
                    (1.47, wide * 0.6, 0),
                ],
                jacket,
            )
    if bag and turned:
        figure.body([(1.0, 0.15, -0.14), (1.4, 0.15, -0.14)], _pick(_JACKETS, rng))
    _arm(figure, -far, swing * 0.36 * far, jacket, skin)
    figure.limb([(0, 1.45, 0), (0, 1.54, 0.01)], 0.1, skin)
    figure.ball((0, 1.63, 0.02), 0.118, hair if turned else skin)
    figure.ball((0, 1.685, -0.01), 0.108, hair)


def _arm(figure: _Figure, side: int, step: float, jacket: Colour, skin: Colour) -> None:
    elbow = (side * 0.25, 1.14, step * 0.35)
    hand = (side * 0.24, 0.88, step * 0.8 + 0.08)
    figure.limb([(side * 0.2, 1.39, 0.0), elbow, hand], 0.105, scaled(jacket, 0.92))
    figure.ball(hand, 0.05, skin)


def paint_bicyclist(stage: Stage, rider: Item) -> None:
    """Paint a bicycle and who rides it; `phase` is the angle of the pedals."""
    figure = _Figure(stage, rider, Label.BICYCLIST)
    if figure.depth < 2.0:
        return
    rng = stream(rider.seed, "rider")
    jacket, trousers, frame = _pick(_JACKETS, rng), _pick(_TROUSERS, rng), _pick(_JACKETS, rng)
    skin, helmet = _pick(_SKIN, rng), rng.random() < 0.6
    if rng.random() < 0.3:
        jacket = (40, 220, 210)
    far = -1 if figure.pose.axes[0] @ figure.pose.origin > 0 else 1
    away = figure.pose.axes[2][2] > 0
    for z in (0.53, -0.53) if away else (-0.53, 0.53):
        _wheel(figure, z)
    _leg(figure, far, rider.phase, scaled(trousers, 0.8))
    for tube in _FRAME:
        figure.limb(tube, 0.04, frame)
    for bar in _HANDLEBAR:
        figure.limb(bar, 0.035, _TYRE)
    _rider_trunk(figure, jacket, away)
    _leg(figure, -far, rider.phase + np.pi, trousers)
    figure.ball((0, 1.64, 0.22), 0.115, _pick(_HAIR, rng) if away else skin)
    figure.ball((0, 1.7, 0.2), 0.118, (210, 214, 214) if helmet else (36, 40, 44))


def _rider_trunk(figure: _Figure, jacket: Colour, away: bool) -> None:
    wide = 0.10 + 0.12 * abs(float(figure.pose.axes[0][0]))
    sections = [(0.86, wide * 0.9, -0.22), (0.96, wide, -0.2), (1.42, wide * 1.15, 0.12), (1.5, wide * 0.7, 0.15)]
    if not away:
        figure.body(sections, jacket)
    for side in (-1, 1):
        arm = [(side * 0.2, 1.4, 0.1), (side * 0.27, 1.18, 0.22), (side * 0.25, 1.04, 0.36)]
        figure.limb(arm, 0.1, scaled(jacket, 0.9))
    if away:
        figure.body(sections, jacket)


def _leg(figure: _Figure, side: int, phase: float, colour: Colour) -> None:
    pedal = (side * 0.13, 0.3 + 0.17 * float(np.cos(phase)), -0.04 + 0.17 * float(np.sin(phase)))
    knee = (side * 0.13, 0.5 * (0.95 + pedal[1]) + 0.05, 0.5 * (-0.15 + pedal[2]) + 0.24)
    figure.limb([(side * 0.1, 0.95, -0.18), knee, pedal], 0.14, colour)
    figure.limb([pedal, (pedal[0], pedal[1] - 0.02, pedal[2] + 0.14)], 0.09, (36, 36, 38))


def _wheel(figure: _Figure, z: float) -> None:
    turn = np.linspace(0, 2 * np.pi, 20)
    rim = [(0.0, 0.34 + 0.33 * float(np.sin(t)), z + 0.33 * float(np.cos(t))) for t in turn]
    outline = figure.pixels(rim)
    figure.stage.canvas.veil(outline, (80, 80, 80), 0.35, figure.surface)
    figure.limb(rim, 0.045, _TYRE)
