"""The road with its markings, sidewalks with kerbs, and what lies beyond them."""

from __future__ import annotations

import numpy as np

from edgefsa.data.synthetic.camera import REACH_M, Points
from edgefsa.data.synthetic.canvas import Colour, Material
from edgefsa.data.synthetic.labels import Label
from edgefsa.data.synthetic.noise import stream
from edgefsa.data.synthetic.stage import Stage
from edgefsa.data.synthetic.street import KERB_M, LENGTH_M, Block, Junction, Plan
from edgefsa.data.synthetic.weather import mixed, scaled

_UP = np.array([0.0, 1.0, 0.0])
_WHITE: Colour = (205.0, 208.0, 208.0)
_YELLOW: Colour = (70.0, 165.0, 205.0)


class Ground:
    """Paints the flat parts of the street; surfaces and lit colours are settled once a frame."""

    def __init__(self, stage: Stage, plan: Plan) -> None:
        self.stage = stage
        self.plan = plan
        view = stage.view
        self._start = view.s + 1.2
        self._end = view.s + REACH_M
        steps = np.concatenate([np.arange(0, 24, 1.5), np.geomspace(24, REACH_M, 36)])
        self._stations = view.s + steps
        self._road = self._level(Label.ROAD, Material.ASPHALT, 0.0)
        self._sidewalk = self._level(Label.SIDEWALK, Material.PAVING, KERB_M)
        self._grass = self._level(Label.TREE, Material.GRASS, KERB_M)
        self._light = stage.light(_UP)
        self._asphalt = self._lit((plan.asphalt * 1.01, plan.asphalt, plan.asphalt * 0.99), 1 - 0.3 * stage.weather.wet)
        self._paving = self._lit((plan.paving * 0.96, plan.paving, plan.paving * 1.02), 1 - 0.25 * stage.weather.wet)
        self._lawn = self._lit((52, 118, 92), 1.0)

    def paint(self, blocks: list[Block]) -> None:
        """Paint everything that lies flat, from the horizon to the bonnet."""
        stage, plan = self.stage, self.plan
        rows, columns = stage.canvas.pixels.shape[:2]
        horizon = stage.view.lens.horizon_v + 1
        everywhere = np.array([[0, horizon], [columns, horizon], [columns, rows], [0, rows]], float)
        stage.canvas.fill(everywhere, self._lawn, self._grass)
        self._ribbon(-plan.lane - plan.parking[0], plan.lane + plan.parking[1], self._start, self._end, self._asphalt)
        self._wear()
        for block in reversed(blocks):
            for side in (0, 1):
                self._pavement(block, side)
        for block in reversed(blocks):
            if block.junction:
                self._side_street(block.junction)
            self._markings(block)

    def _level(self, label: Label, material: Material, y: float) -> int:
        view = self.stage.view
        plane = view.plane(np.array([0.0, y - view.height, 0.0]), _UP)
        return self.stage.canvas.surface(label, plane, material)

    def _lit(self, colour: Colour, factor: float) -> Colour:
        light = self._light
        return scaled((colour[0] * light[0], colour[1] * light[1], colour[2] * light[2]), factor)

    def _ribbon(
        self, x0: float, x1: float, s0: float, s1: float, colour: Colour, surface: int | None = None, y: float = 0.0
    ) -> None:
        """Fill the ground between x0 and x1 from s0 to s1."""
        s0, s1 = max(s0, self._start), min(s1, self._end)
        if s1 <= s0:
            return
        inner = self._stations[(self._stations > s0) & (self._stations < s1)]
        s = np.concatenate([[s0], inner, [s1]])
        view = self.stage.view
        edges = np.concatenate([view.points(x0, y, s), view.points(x1, y, s)[::-1]])
        self.stage.polygon(edges, colour, self._road if surface is None else surface)

    def _quads(self, boxes: Points, colour: Colour, surface: int | None = None, y: float = 0.0) -> None:
        """Fill rectangles [N, 4] of (x0, x1, s0, s1) on the ground."""
        boxes = boxes[(boxes[:, 2] >= self._start) & (boxes[:, 3] <= self._end)]
        if not len(boxes):
            return
        view = self.stage.view
        corners = view.points(boxes[:, [0, 1, 1, 0]], y, boxes[:, [2, 2, 3, 3]])
        corners = corners[(corners[..., 2] > 0.8).all(axis=1)]
        self.stage.canvas.fill_all(view.project(corners), colour, self._road if surface is None else surface)

    def _wear(self) -> None:
        # Tyres polish two tracks a lane; older repairs and covers break the surface up.
        plan = self.plan
        for lane in (-1, 1):
            for wheel in (-0.75, 0.75):
                middle = lane * plan.lane / 2 + wheel
                self._ribbon(middle - 0.3, middle + 0.3, self._start, self._end, scaled(self._asphalt, 0.955))
        first = int(self._start // 9)
        for index in range(first, first + 9):
            rng = stream(plan.seed, "repair", index)
            x, s = float(rng.uniform(-plan.lane, plan.lane - 1)), 9.0 * index + float(rng.uniform(0, 6))
            tone = scaled(self._asphalt, float(rng.choice([0.84, 0.9, 1.08])))
            if rng.random() < 0.55:
                self._quads(np.array([[x, x + float(rng.uniform(0.5, 1.6)), s, s + float(rng.uniform(1, 6))]]), tone)
            elif rng.random() < 0.6:
                self._cover(x, s)

    def _cover(self, x: float, s: float) -> None:
        turn = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        for radius, tone in ((0.34, 0.86), (0.28, 0.74)):
            ring = self.stage.view.points(x + radius * np.cos(turn), 0.0, s + radius * np.sin(turn))
            self.stage.polygon(ring, scaled(self._asphalt, tone), self._road)

    def _pavement(self, block: Block, side: int) -> None:
        plan, out = self.plan, (-1, 1)[side]
        kerb, front = plan.kerb(side), plan.front(side)
        s0, s1 = block.start, block.end
        if plan.styles[side] != "park":
            self._ribbon(front, out * 70, s0, s1, scaled(self._lawn, 0.9), self._grass, KERB_M)
            if plan.styles[side] in ("town", "offices"):
                self._ribbon(front, out * 70, s0, s1, self._paving, self._sidewalk, KERB_M)
        self._ribbon(kerb, front, s0, s1, self._paving, self._sidewalk, KERB_M)
        if plan.verge[side]:
            self._ribbon(kerb + out * 0.15, kerb + out * plan.verge[side], s0 + 1, s1, self._lawn, self._grass, KERB_M)
        stone = mixed(self._paving, self._lit((176, 182, 184), 1.0), 0.6)
        self._ribbon(kerb, kerb + out * 0.15, s0, s1, stone, self._sidewalk, KERB_M)
        self._ribbon(kerb - out * 0.28, kerb, s0, s1, scaled(self._asphalt, 0.86))
        self._kerb_face(kerb, out, s0, s1)

    def _kerb_face(self, kerb: float, out: int, s0: float, s1: float) -> None:
        s0, s1 = max(s0, self._start), min(s1, self.stage.view.s + 90)
        if s1 <= s0 or (kerb - 0) * out < 0:
            return
        inner = self._stations[(self._stations > s0) & (self._stations < s1)]
        s = np.concatenate([[s0], inner, [s1]])
        view = self.stage.view
        face = np.concatenate([view.points(kerb, 0.0, s), view.points(kerb, KERB_M, s)[::-1]])
        colour = self.stage.lit((128, 134, 136), np.array([-out, 0.0, 0.0]))
        self.stage.polygon(face, colour, self._sidewalk)

    def _side_street(self, junction: Junction) -> None:
        self._ribbon(-70.0, 70.0, junction.s0, junction.s1, self._asphalt)
        plan = self.plan
        for side in (0, 1):
            out = (-1, 1)[side]
            edge = plan.kerb(side)
            for s in (junction.s0 - 2.0, junction.s1):
                # The sidewalks go on along the side street.
                self._ribbon(edge, out * 70, s, s + 2.0, self._paving, self._sidewalk, KERB_M)
            dashes = np.arange(junction.s0 + 0.4, junction.s1 - 0.4, 1.0)
            boxes = np.stack(
                [np.full_like(dashes, edge), np.full_like(dashes, edge + out * 0.2), dashes, dashes + 0.6], 1
            )
            self._quads(boxes, self._lit(_WHITE, 0.9))

    def _markings(self, block: Block) -> None:
        plan = self.plan
        paint = self._lit(_WHITE, 0.92)
        dashes = np.arange(block.start + 4, block.end - 3, 6.0)
        self._dashes(-0.06, dashes, 0.12, 3.0, paint)
        if plan.edge_lines != "none":
            self._edge_lines(block)
        if block.junction:
            self._junction_marks(block.junction, paint)
        rng = stream(plan.seed, "marks", block.index)
        if rng.random() < 0.5:
            side = int(rng.integers(0, 2))
            self._arrow(
                (-1, 1)[side] * plan.lane / 2,
                block.end - float(rng.uniform(8, 14)),
                paint,
                (-1, 1)[side] == plan.drive_side,
            )
        for side in (0, 1):
            if plan.parking[side]:
                x, out = plan.kerb(side), (-1, 1)[side]
                bays = np.arange(block.start + 3, block.end, 5.8)
                self._dashes(
                    x - out * 2.1 - 0.05, np.arange(block.start + 3, block.end, 1.6), 0.1, 0.8, scaled(paint, 0.92)
                )
                boxes = np.stack(
                    [
                        np.full_like(bays, min(x, x - out * 2.1)),
                        np.full_like(bays, max(x, x - out * 2.1)),
                        bays,
                        bays + 0.1,
                    ],
                    1,
                )
                self._quads(boxes, scaled(paint, 0.92))

    def _dashes(self, x: float, starts: Points, width: float, length: float, colour: Colour) -> None:
        near = starts[starts < self.stage.view.s + 110]
        boxes = np.stack([np.full_like(near, x), np.full_like(near, x + width), near, near + length], axis=1)
        self._quads(boxes, colour)

    def _edge_lines(self, block: Block) -> None:
        plan = self.plan
        double = plan.edge_lines.startswith("double")
        paint = self._lit(_WHITE if plan.edge_lines == "white" else _YELLOW, 0.92)
        for side in (0, 1):
            if plan.parking[side]:
                continue
            out = (-1, 1)[side]
            for place in (0.42, 0.62) if double else (0.5,):
                x = plan.kerb(side) - out * place
                self._ribbon(x - 0.045, x + 0.045, block.start + 1, block.end - 1, paint)

    def _junction_marks(self, junction: Junction, paint: Colour) -> None:
        plan = self.plan
        drive = plan.drive_side
        stop = junction.s0 - 1.2
        inner, outer = sorted((0.1 * drive, drive * (plan.lane - 0.3)))
        self._quads(np.array([[inner, outer, stop, stop + 0.35]]), paint)
        inner, outer = sorted((-0.1 * drive, -drive * (plan.lane - 0.3)))
        self._quads(np.array([[inner, outer, junction.s1 + 1.0, junction.s1 + 1.35]]), paint)
        if junction.zebra:
            bars = np.arange(plan.kerb(0) + 0.5, plan.kerb(1) - 0.5, 1.2)
            s0 = junction.s1 + 2.0
            boxes = np.stack([bars, bars + 0.6, np.full_like(bars, s0), np.full_like(bars, s0 + 2.6)], axis=1)
            self._quads(boxes, paint)
        elif junction.signals:
            yellow = self._lit(_YELLOW, 0.85)
            for share in np.linspace(0.0, 1.0, 5):
                s = junction.s0 + share * (junction.s1 - junction.s0)
                self._quads(np.array([[-plan.lane, plan.lane, s - 0.06, s + 0.06]]), yellow)

    def _arrow(self, x: float, s: float, colour: Colour, forward: bool) -> None:
        shape = np.array([[-0.08, 0], [0.08, 0], [0.08, 2.4], [0.4, 2.4], [0, 4.0], [-0.4, 2.4], [-0.08, 2.4]])
        if not forward:
            shape = np.stack([shape[:, 0], 4.0 - shape[:, 1]], axis=1)
        if s < self._start or s > self.stage.view.s + 60:
            return
        self.stage.polygon(self.stage.view.points(x + shape[:, 0], 0.0, s + shape[:, 1]), colour, self._road)


def visible_blocks(start: float) -> range:
    """Return the indices of the blocks that a camera at `start` may see."""
    return range(int((start - 14) // LENGTH_M), int((start + REACH_M - 30) // LENGTH_M) + 1)
