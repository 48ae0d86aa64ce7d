"""What stands along a block: buildings, gardens, trees, lamps, signs, fences, parked cars."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgefsa.data.synthetic.noise import stream
from edgefsa.data.synthetic.street import KERB_M, Barrier, Block, Building, Item, Plan, Thing

CAR_MODELS = ("hatchback", "saloon", "estate", "suv", "van", "city car")
_CAR_SHARES = (0.32, 0.2, 0.14, 0.16, 0.08, 0.10)

# style -> (heights, widths, depths of the front garden, chance of a gap after a house)
_HOUSES: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float], float]] = {
    "town": ((9.0, 15.0), (6.0, 13.0), (0.0, 0.0), 0.05),
    "terrace": ((6.2, 9.0), (5.0, 7.0), (0.0, 2.2), 0.06),
    "villas": ((6.0, 9.0), (9.0, 13.0), (4.0, 8.0), 0.75),
    "offices": ((10.0, 20.0), (14.0, 26.0), (0.0, 5.0), 0.35),
}


def draw_car(rng: np.random.Generator) -> str:
    """Draw a car's model."""
    return CAR_MODELS[int(rng.choice(len(CAR_MODELS), p=_CAR_SHARES))]


def furnish(plan: Plan, block: Block) -> Iterator[Thing]:
    """Yield all that stands still on a block."""
    for side in (0, 1):
        rng = stream(plan.seed, "side", block.index, side)
        style = plan.styles[side]
        if style == "park":
            yield from _park(plan, block, side, rng)
        else:
            yield from _houses(plan, block, side, style, rng)
        yield from _parked_cars(plan, block, side, stream(plan.seed, "parked", block.index, side))
        yield from _kerbside(plan, block, side, stream(plan.seed, "kerbside", block.index, side))
        yield from _clutter(plan, block, side, stream(plan.seed, "clutter", block.index, side))
    if block.junction:
        yield from _junction(plan, block, stream(plan.seed, "junction", block.index))


def _houses(plan: Plan, block: Block, side: int, style: str, rng: np.random.Generator) -> Iterator[Thing]:
    heights, widths, gardens, gap_chance = _HOUSES[style]
    out = (-1, 1)[side]
    garden = float(rng.uniform(*gardens)) if gardens[1] else 0.0
    terrace_seed, common_height = int(rng.integers(1 << 30)), float(rng.uniform(*heights))
    at, covered = block.start + (1.5 if block.junction else 0.0), 0.0
    while at < block.end - 3.0:
        width = min(float(rng.uniform(*widths)), block.end - at)
        if block.end - at - width < 4.0:
            width = block.end - at
        alike = style == "terrace" and rng.random() < 0.85
        seed = terrace_seed if alike else int(rng.integers(1 << 30))
        height = common_height if alike else float(rng.uniform(*heights))
        gap = float(rng.uniform(2.5, 6.0)) if rng.random() < gap_chance else 0.0
        gap = min(gap, max(0.0, width - 4.5))
        front = plan.front(side) + out * garden
        yield Building(side, front, at, at + width - gap, float(rng.uniform(8, 12)), height, style, seed, covered)
        covered = 0.0 if gap else height
        if gap > 2.4:
            yield from _gap(front + out * 2.5, side, at + width - gap, at + width, rng)
        at += width
    if garden > 0.8:
        yield from _garden(plan, block, side, garden, rng)


def _gap(x: float, side: int, s0: float, s1: float, rng: np.random.Generator) -> Iterator[Thing]:
    kind = str(rng.choice(["planks", "wall", "hedge"]))
    yield Barrier(kind, side, x, s0, s1, float(rng.uniform(1.6, 2.1)), int(rng.integers(1 << 30)))
    out = (-1, 1)[side]
    if rng.random() < 0.75:
        yield _tree(x + out * float(rng.uniform(3, 8)), 0.5 * (s0 + s1), rng, (6.0, 10.0))


def _garden(plan: Plan, block: Block, side: int, depth: float, rng: np.random.Generator) -> Iterator[Thing]:
    out = (-1, 1)[side]
    kind = str(rng.choice(["hedge", "wall", "railings", "planks", "pickets"], p=[0.28, 0.22, 0.24, 0.12, 0.14]))
    edge = plan.front(side) + out * 0.15
    at = block.start + 2.0
    while at < block.end - 3:
        length = min(float(rng.uniform(6, 14)), block.end - at)
        height = {"hedge": 1.4, "wall": 0.9, "railings": 1.1, "planks": 1.5, "pickets": 1.0}[kind]
        height *= float(rng.uniform(0.8, 1.25))
        yield Barrier(kind, side, edge, at, at + length - 1.2, height, int(rng.integers(1 << 30)))
        if depth > 3 and rng.random() < 0.45:
            yield _tree(edge + out * float(rng.uniform(1.2, depth - 1)), at + length / 2, rng, (3.5, 8.0))
        if depth > 1.5 and rng.random() < 0.6:
            x = edge + out * float(rng.uniform(0.8, 1.4))
            yield Item("tree", "bush", x, at + float(rng.uniform(1, length - 1)), int(rng.integers(1 << 30)), size=1.5)
        at += length
        if rng.random() < 0.4:
            kind = str(rng.choice(["hedge", "wall", "railings", "pickets"]))


def _park(plan: Plan, block: Block, side: int, rng: np.random.Generator) -> Iterator[Thing]:
    out = (-1, 1)[side]
    edge = plan.front(side) + out * 0.2
    kind = str(rng.choice(["railings", "wall", "planks", "hedge", "pickets"], p=[0.42, 0.16, 0.14, 0.16, 0.12]))
    yield Barrier(
        kind, side, edge, block.start + 1, block.end, float(rng.uniform(1.0, 1.6)), int(rng.integers(1 << 30))
    )
    for row, (distance, spacing) in enumerate(((3.0, 8.0), (10.0, 8.0), (18.0, 9.0))):
        at = block.start + float(rng.uniform(0, 4))
        while at < block.end:
            if rng.random() < (0.75, 0.8, 0.9)[row]:
                yield _tree(edge + out * (distance + float(rng.uniform(-1, 2))), at, rng, (6.5, 13.0))
            at += spacing * float(rng.uniform(0.7, 1.4))
    if rng.random() < 0.5:
        s0 = block.start + float(rng.uniform(4, 12))
        seed = int(rng.integers(1 << 30))
        yield Building(side, edge + out * 24, s0, s0 + 24, 12, float(rng.uniform(8, 14)), "town", seed)


def _tree(x: float, s: float, rng: np.random.Generator, heights: tuple[float, float]) -> Item:
    variant = str(rng.choice(["broad", "round", "columnar", "conifer", "bare"], p=[0.30, 0.24, 0.10, 0.10, 0.26]))
    return Item("tree", variant, x, s, int(rng.integers(1 << 30)), KERB_M, size=float(rng.uniform(*heights)))


def _parked_cars(plan: Plan, block: Block, side: int, rng: np.random.Generator) -> Iterator[Thing]:
    out = (-1, 1)[side]
    if not plan.parking[side]:
        return
    along = 0.0 if out == plan.drive_side else np.pi
    at = block.start + 4.0
    while at < block.end - 3.0:
        heading = along if rng.random() < 0.85 else along + np.pi
        if rng.random() < plan.parked:
            x = plan.kerb(side) - out * (1.05 + float(rng.uniform(-0.1, 0.12)))
            yield Item(
                "car", draw_car(rng), x, at, int(rng.integers(1 << 30)), heading=heading + float(rng.normal(0, 0.02))
            )
        at += float(rng.uniform(5.4, 6.6))


def _kerbside(plan: Plan, block: Block, side: int, rng: np.random.Generator) -> Iterator[Thing]:
    # Lamps, street trees and signs keep a strip of half a metre behind the kerb.
    out = (-1, 1)[side]
    x = plan.kerb(side) + out * 0.45
    trees = rng.random() < (0.6 if plan.pavement[side] > 2.4 or plan.verge[side] else 0.0)
    if block.index % 2 == side or plan.lamp_spacing < 28:
        for at in np.arange(block.start + float(rng.uniform(4, 10)), block.end, plan.lamp_spacing):
            variant = "arm" if plan.seed % 3 else "lantern"
            yield Item(
                "lamp", variant, x, float(at), plan.seed, KERB_M, heading=-out * np.pi / 2, size=6.5 + plan.seed % 3
            )
    if trees:
        for at in np.arange(block.start + 7, block.end - 2, float(rng.uniform(9, 14))):
            if rng.random() < 0.8:
                yield _tree(x + out * 0.15, float(at) + float(rng.uniform(-1, 1)), rng, (5.0, 8.5))
    for at in np.arange(block.start + 3, block.end - 2, 11.0):
        if rng.random() < 0.65:
            variant = str(rng.choice(["round", "triangle", "board", "blue", "post sign"]))
            s = float(at) + float(rng.uniform(-3, 5))
            size = float(rng.uniform(0.85, 1.35))
            yield Item(
                "sign",
                variant,
                x,
                s,
                int(rng.integers(1 << 30)),
                KERB_M,
                heading=0 if out == plan.drive_side else np.pi,
                size=size,
            )


def _clutter(plan: Plan, block: Block, side: int, rng: np.random.Generator) -> Iterator[Thing]:
    out = (-1, 1)[side]
    x = plan.kerb(side) + out * 0.35
    town = plan.styles[side] in ("town", "offices")
    if rng.random() < (0.5 if town else 0.12):
        start = block.start + float(rng.uniform(2, 20))
        for step in range(int(rng.integers(3, 8))):
            yield Item("bollard", "post", x, start + 1.6 * step, 0, KERB_M)
    if rng.random() < (0.35 if town else 0.1):
        s0 = block.start + float(rng.uniform(2, 12))
        length = float(rng.uniform(6, 16))
        yield Barrier("guard rail", side, x - out * 0.1, s0, min(s0 + length, block.end), 1.05, plan.seed)
    if rng.random() < 0.35:
        s = block.start + float(rng.uniform(5, 45))
        back = plan.front(side) - out * 0.5
        kind = str(rng.choice(["bin", "box"]))
        yield Item("clutter", kind, back if kind == "box" else x, s, int(rng.integers(1 << 30)), KERB_M)
    if town and rng.random() < 0.4:
        s = block.start + float(rng.uniform(5, 45))
        yield Item("sign", "billboard", plan.front(side) - out * 0.9, s, int(rng.integers(1 << 30)), KERB_M, size=1.2)


def _junction(plan: Plan, block: Block, rng: np.random.Generator) -> Iterator[Thing]:
    crossing = block.junction
    if crossing is None:
        return
    shown = int(rng.integers(1 << 30))
    for side in (0, 1):
        out = (-1, 1)[side]
        x = plan.kerb(side) + out * 0.5
        if crossing.signals:
            for s in (crossing.s0 - 0.8, crossing.s1 + 0.8):
                yield Item("sign", "signals", x, s, shown, KERB_M)
        elif rng.random() < 0.7:
            yield Item("sign", "board", x, crossing.s1 + 1.0, int(rng.integers(1 << 30)), KERB_M, size=1.2)
        if rng.random() < 0.65:
            # A car waits in the side street, its side to us.
            lane = crossing.s0 + (crossing.s1 - crossing.s0) * (0.28 if out * plan.drive_side < 0 else 0.72)
            heading = -out * np.pi / 2
            place = plan.front(side) + out * float(rng.uniform(0.8, 4))
            yield Item("car", draw_car(rng), place, lane, int(rng.integers(1 << 30)), heading=heading)
    hedge_s = 0.5 * (crossing.s0 + crossing.s1)
    for side in (0, 1):
        x = plan.front(side) + (-1, 1)[side] * float(rng.uniform(26, 40))
        yield _tree(x, hedge_s + float(rng.uniform(-2, 6)), rng, (7.0, 11.0))
