"""Lamps, posts, signs, traffic lights, bins: what stands behind the kerb."""

from __future__ import annotations

import numpy as np

from edgefsa.data.synthetic.camera import Points, Pose
from edgefsa.data.synthetic.canvas import Colour
from edgefsa.data.synthetic.labels import Label
from edgefsa.data.synthetic.noise import stream
from edgefsa.data.synthetic.stage import Stage
from edgefsa.data.synthetic.street import Item
from edgefsa.data.synthetic.weather import scaled

_STEEL: Colour = (128, 130, 128)
_DARK: Colour = (52, 54, 50)
_CIRCLE = np.linspace(0, 2 * np.pi, 18, endpoint=False)


class _Stand:
    """A pose with pixel sizes: draws poles and plates of one thing."""

    def __init__(self, stage: Stage, item: Item) -> None:
        self.stage = stage
        self.pose: Pose = stage.view.pose(item.x, item.y, item.s, item.heading)
        self.depth = float(self.pose.origin[2])
        self.scale = stage.view.scale(self.depth)

    def pole(
        self,
        start: tuple[float, float, float],
        end: tuple[float, float, float],
        width: float,
        colour: Colour,
        label: Label,
    ) -> None:
        """Draw a round bar from start to end (right, up, forward metres)."""
        ends = self.pose.place(np.array([start, end]))
        if (ends[:, 2] < 1.0).any():
            return
        pixels = self.stage.view.project(ends)
        half = max(0.5, 0.5 * width * self.scale)
        along = pixels[1] - pixels[0]
        across = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-6) * half
        surface = self.stage.canvas.surface_at(label, self.depth)
        lit = self.stage.lit_round(colour)
        outline = np.array([pixels[0] - across, pixels[1] - across, pixels[1] + across, pixels[0] + across])
        self.stage.canvas.fill(outline, lit, surface)
        if half > 2.5:
            shade = np.array([pixels[0], pixels[1], pixels[1] + across, pixels[0] + across])
            self.stage.canvas.fill(shade, scaled(lit, 0.75), surface)

    def plate(self, outline: Points, forward: float, colour: Colour, label: Label, glowing: bool = False) -> None:
        """Fill a flat shape [N, 2] (right, up) that stands at `forward`."""
        points = self.pose.place(np.column_stack([outline, np.full(len(outline), forward)]))
        if (points[:, 2] < 1.0).any():
            return
        normal = self.pose.axes[2] if self.pose.axes[2] @ points[0] < 0 else -self.pose.axes[2]
        shown = colour if glowing else self.stage.lit(colour, normal)
        self.stage.polygon(points, shown, self.stage.canvas.surface_at(label, self.depth))

    def pixel(self, right: float, up: float, forward: float) -> Points:
        """Project one point."""
        return self.stage.view.project(self.pose.place(np.array([right, up, forward])))


def _disc(x: float, y: float, radius: float) -> Points:
    return np.column_stack([x + radius * np.cos(_CIRCLE), y + radius * np.sin(_CIRCLE)])


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> Points:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def paint_lamp(stage: Stage, lamp: Item) -> None:
    """Paint a street lamp: a mast with an arm over the road, or a lantern on a post."""
    stand = _Stand(stage, lamp)
    if stand.depth < 1.5:
        return
    tall = lamp.size
    colour = _STEEL if lamp.variant == "arm" else _DARK
    stand.pole((0, 0, 0), (0, 1.1, 0), 0.20, colour, Label.POLE)
    if lamp.variant == "arm":
        stand.pole((0, 1.0, 0), (0, tall, 0), 0.13, colour, Label.POLE)
        stand.pole((0, tall, 0), (0, tall + 0.35, 1.3), 0.09, colour, Label.POLE)
        stand.pole((0, tall + 0.33, 1.2), (0, tall + 0.36, 1.9), 0.22, scaled(colour, 1.25), Label.POLE)
        bulb = stand.pixel(0, tall + 0.345, 1.6)
    else:
        tall = 4.6
        stand.pole((0, 1.0, 0), (0, tall, 0), 0.11, colour, Label.POLE)
        stand.pole((0, tall, 0), (0, tall + 0.5, 0), 0.36, (190, 205, 210), Label.POLE)
        stand.pole((0, tall + 0.5, 0), (0, tall + 0.62, 0), 0.44, colour, Label.POLE)
        bulb = stand.pixel(0, tall + 0.25, 0)
    if stage.weather.dusk and stand.depth > 3:
        surface = stage.canvas.surface_at(Label.POLE, stand.depth)
        stage.glow(bulb, 0.9 * stand.scale, (150, 215, 255), surface)


def paint_sign(stage: Stage, sign: Item) -> None:
    """Paint a sign or traffic light with its post; heading 0 faces traffic that goes along +s."""
    stand = _Stand(stage, sign)
    if stand.depth < 1.8:
        return
    back = stand.pose.axes[2] @ stand.pose.origin < 0
    _SIGNS[sign.variant](stand, sign, bool(back))


def _round_sign(stand: _Stand, sign: Item, back: bool) -> None:
    radius, top = 0.32 * sign.size, 2.5
    stand.pole((0, 0, 0.05), (0, top + radius, 0.05), 0.075, _STEEL, Label.POLE)
    if back:
        stand.plate(_disc(0, top, radius), 0, (120, 124, 124), Label.SIGN)
        return
    stand.plate(_disc(0, top, radius), 0, (38, 34, 190), Label.SIGN)
    stand.plate(_disc(0, top, radius * 0.78), -0.01, (232, 232, 230), Label.SIGN)
    if sign.seed % 3 == 0:
        stand.plate(_rectangle(-radius * 0.55, top - 0.06, radius * 0.55, top + 0.06), -0.02, (38, 34, 190), Label.SIGN)
    else:
        for x in (-0.1, 0.1):
            stand.plate(_rectangle(x - 0.06, top - 0.13, x + 0.06, top + 0.13), -0.02, (30, 30, 30), Label.SIGN)


def _triangle_sign(stand: _Stand, sign: Item, back: bool) -> None:
    side, top = 0.42 * sign.size, 2.45
    stand.pole((0, 0, 0.05), (0, top + side, 0.05), 0.075, _STEEL, Label.POLE)
    triangle = np.array([[-1.0, -0.6], [1.0, -0.6], [0.0, 1.1]])
    shift = np.array([0, top])
    stand.plate(triangle * side + shift, 0, (120, 124, 124) if back else (38, 34, 190), Label.SIGN)
    if not back:
        stand.plate(triangle * side * 0.68 + shift, -0.01, (232, 232, 230), Label.SIGN)
        stand.plate(_rectangle(-0.03, top - 0.14, 0.03, top + 0.18), -0.02, (30, 30, 30), Label.SIGN)


def _board(stand: _Stand, sign: Item, back: bool) -> None:
    wide, tall = 0.75 * sign.size, 0.5 * sign.size
    colour: Colour = ((60, 104, 20), (150, 80, 20), (232, 232, 230))[sign.seed % 3]
    base = 2.1
    for x in (-wide * 0.6, wide * 0.6):
        stand.pole((x, 0, 0.05), (x, base + tall, 0.05), 0.08, _STEEL, Label.POLE)
    stand.plate(_rectangle(-wide, base, wide, base + 2 * tall), 0, (126, 130, 130) if back else colour, Label.SIGN)
    if back:
        return
    ink: Colour = (30, 30, 30) if sign.seed % 3 == 2 else (232, 232, 230)
    rng = stream(sign.seed, "board")
    for row in range(3):
        y = base + tall * (1.6 - 0.5 * row)
        right = wide * float(rng.uniform(0.1, 0.8))
        stand.plate(_rectangle(-wide * 0.8, y - 0.05, right, y + 0.06), -0.01, ink, Label.SIGN)


def _blue_sign(stand: _Stand, sign: Item, back: bool) -> None:
    half, base = 0.3 * sign.size, 2.1
    stand.pole((0, 0, 0.05), (0, base + 2 * half, 0.05), 0.075, _STEEL, Label.POLE)
    stand.plate(
        _rectangle(-half, base, half, base + 2 * half), 0, (120, 124, 124) if back else (170, 76, 16), Label.SIGN
    )
    if not back:
        stand.plate(
            _rectangle(-half * 0.5, base + 0.1, -half * 0.2, base + 2 * half - 0.1), -0.01, (235, 235, 235), Label.SIGN
        )
        stand.plate(
            _rectangle(-half * 0.2, base + half, half * 0.4, base + 2 * half - 0.1), -0.01, (235, 235, 235), Label.SIGN
        )


def _post_sign(stand: _Stand, sign: Item, back: bool) -> None:
    # A low parking plate.
    stand.pole((0, 0, 0.05), (0, 1.9, 0.05), 0.07, _STEEL, Label.POLE)
    stand.plate(_rectangle(-0.2, 1.2, 0.2, 1.85), 0, (120, 124, 124) if back else (30, 30, 30), Label.SIGN)
    if back:
        return
    paper: Colour = ((48, 196, 232), (232, 232, 230))[sign.seed % 2]
    stand.plate(_rectangle(-0.18, 1.22, 0.18, 1.83), -0.01, paper, Label.SIGN)
    for row in range(3):
        stand.plate(_rectangle(-0.13, 1.34 + 0.14 * row, 0.11, 1.4 + 0.14 * row), -0.02, (40, 40, 44), Label.SIGN)


def _billboard(stand: _Stand, sign: Item, back: bool) -> None:
    rng = stream(sign.seed, "billboard")
    colour = (float(rng.integers(20, 230)), float(rng.integers(20, 230)), float(rng.integers(20, 230)))
    wide, low, high = 0.65, 0.35, 2.4
    stand.pole((0, 0, 0.05), (0, low, 0.05), 0.3, _DARK, Label.POLE)
    stand.plate(_rectangle(-wide, low, wide, high), 0, _DARK, Label.SIGN)
    stand.plate(_rectangle(-wide + 0.08, low + 0.1, wide - 0.08, high - 0.1), -0.01, colour, Label.SIGN)
    stand.plate(_rectangle(-wide + 0.2, high - 0.8, wide - 0.25, high - 0.35), -0.02, (235, 235, 235), Label.SIGN)


def _signals(stand: _Stand, sign: Item, back: bool) -> None:
    top = 2.3
    stand.pole((0, 0, 0.12), (0, top + 1.0, 0.12), 0.13, _DARK, Label.POLE)
    stand.plate(_rectangle(-0.27, top - 0.1, 0.27, top + 1.15), 0.02, (38, 38, 36), Label.SIGN)
    if back:
        return
    stand.plate(_rectangle(-0.17, top, 0.17, top + 1.05), 0.0, (22, 22, 22), Label.SIGN)
    lit = (0, 2, 2)[sign.seed % 3]
    lamps: tuple[tuple[Colour, Colour], ...] = (
        ((40, 40, 250), (30, 30, 66)),
        ((30, 170, 250), (24, 50, 62)),
        ((110, 240, 70), (30, 60, 28)),
    )
    for index, (on, off) in enumerate(lamps):
        y = top + 0.85 - 0.33 * index
        glowing = index == lit
        stand.plate(_disc(0, y, 0.12), -0.01, on if glowing else off, Label.SIGN, glowing)
        if glowing and stand.depth > 3:
            dim = stand.stage.weather.dusk or stand.stage.weather.rain
            surface = stand.stage.canvas.surface_at(Label.SIGN, stand.depth)
            stand.stage.glow(stand.pixel(0, y, -0.01), (0.25 if dim else 0.1) * stand.scale, on, surface)


def paint_bollard(stage: Stage, bollard: Item) -> None:
    """Paint a short post with a light band."""
    stand = _Stand(stage, bollard)
    if stand.depth > 1.5:
        stand.pole((0, 0, 0), (0, 0.95, 0), 0.17, _DARK, Label.POLE)
        stand.pole((0, 0.72, 0), (0, 0.82, 0), 0.175, (200, 204, 204), Label.POLE)


def paint_clutter(stage: Stage, item: Item) -> None:
    """Paint a litter bin or a cabinet; CamVid leaves such things unlabelled."""
    stand = _Stand(stage, item)
    if stand.depth < 1.5:
        return
    if item.variant == "bin":
        stand.pole((0, 0, 0), (0, 1.05, 0), 0.55, (46, 60, 38), Label.UNLABELLED)
        stand.pole((0, 0.85, 0), (0, 0.92, 0), 0.57, (40, 130, 170), Label.UNLABELLED)
    else:
        stand.plate(_rectangle(-0.55, 0, 0.55, 1.15), 0.0, (70, 86, 60), Label.UNLABELLED)
        stand.plate(_rectangle(-0.02, 0.1, 0.02, 1.05), -0.01, (44, 54, 40), Label.UNLABELLED)


_SIGNS = {
    "round": _round_sign,
    "triangle": _triangle_sign,
    "board": _board,
    "blue": _blue_sign,
    "post sign": _post_sign,
    "billboard": _billboard,
    "signals": _signals,
}
