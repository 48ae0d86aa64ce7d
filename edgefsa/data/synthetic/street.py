"""The layout of a street: a plan that holds everywhere, and blocks of buildings and things along it, without end.

Block i covers LENGTH_M metres from s = i * LENGTH_M. It is drawn from the seed and i alone, so any stretch of the
street can be made without the rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from edgefsa.data.synthetic.camera import Bend
from edgefsa.data.synthetic.noise import stream

LENGTH_M = 54.0
KERB_M = 0.13


@dataclass(frozen=True)
class Plan:
    """What holds for the whole street; metres. Sides are 0 (left, x < 0) and 1 (right).

    `drive_side` is -1 where traffic keeps left. `parking` is the width of the parking strip on each side (0: none),
    `pavement` that of the sidewalks, `verge` that of a grass strip between kerb and sidewalk. `styles` names what
    stands along each side.
    """

    seed: int
    bend: Bend
    drive_side: int
    lane: float
    parking: tuple[float, float]
    pavement: tuple[float, float]
    verge: tuple[float, float]
    styles: tuple[str, str]
    traffic: float
    walkers: float
    cyclists: float
    parked: float
    lamp_spacing: float
    asphalt: float
    paving: float
    edge_lines: str

    def kerb(self, side: int) -> float:
        """The x of the kerb of that side."""
        return (-1, 1)[side] * (self.lane + self.parking[side])

    def front(self, side: int) -> float:
        """The x where the sidewalk of that side ends."""
        return self.kerb(side) + (-1, 1)[side] * (self.verge[side] + self.pavement[side])

    def zone(self, x: float) -> int:
        """Return what lies at x: 0 road, 1 the kerb's edge, 2 sidewalk, 3 its outer edge, 4 beyond."""
        side = int(x > 0)
        past_kerb, past_front = abs(x) - abs(self.kerb(side)), abs(x) - abs(self.front(side))
        if past_front > 0:
            return 3 if past_front < 0.5 else 4
        return 0 if past_kerb < 0 else 1 if past_kerb < 0.3 else 2


_STYLES = {"town": 0.34, "terrace": 0.24, "villas": 0.14, "offices": 0.12, "park": 0.16}


def draw_plan(seed: int) -> Plan:
    """Draw a street."""
    rng = stream(seed, "plan")
    names, shares = list(_STYLES), np.array(list(_STYLES.values()))
    first = names[int(rng.choice(len(names), p=shares))]
    second = first if rng.random() < 0.35 else names[int(rng.choice(len(names), p=shares))]
    if first == second == "park":
        second = "terrace"
    styles = (first, second) if rng.random() < 0.5 else (second, first)
    bends = rng.uniform(0.0, 1.0) ** 2 * 0.22, rng.uniform(0, 0.05)
    lengths = (70.0, 33.0)
    terms = tuple((float(a), b, float(rng.uniform(0, 6.28))) for a, b in zip(bends, lengths, strict=True))
    parking = rng.choice([0.0, 2.1], size=2, p=[0.6, 0.4])
    verge = rng.choice([0.0, 1.4], size=2, p=[0.85, 0.15])
    pavement = rng.uniform(1.8, 4.2, 2)
    return Plan(
        seed=seed,
        bend=Bend(terms),
        drive_side=-1 if rng.random() < 0.6 else 1,
        lane=float(rng.uniform(3.0, 4.2)),
        parking=(float(parking[0]), float(parking[1])),
        pavement=(float(pavement[0]), float(pavement[1])),
        verge=(float(verge[0]), float(verge[1])),
        styles=styles,
        traffic=float(rng.choice([0.15, 0.5, 1.0])),
        walkers=float(rng.choice([0.5, 1.2, 2.2])),
        cyclists=float(rng.choice([0.0, 0.25, 0.55])),
        parked=float(rng.uniform(0.2, 0.85)),
        lamp_spacing=float(rng.choice([24.0, 30.0, 36.0])),
        asphalt=float(rng.uniform(78, 124)),
        paving=float(rng.uniform(100, 150)),
        edge_lines=str(rng.choice(["none", "double yellow", "white", "single yellow"], p=[0.35, 0.3, 0.2, 0.15])),
    )


@dataclass(frozen=True)
class Junction:
    """A crossing road from s0 to s1; `signals` tells whether traffic lights stand there, `zebra` a crossing."""

    s0: float
    s1: float
    signals: bool
    zebra: bool


@dataclass(frozen=True)
class Building:
    """A house with its front at x (its back further out), from s0 to s1.

    `covered` is the height to which its neighbour hides the wall at s0.
    """

    side: int
    x: float
    s0: float
    s1: float
    depth: float
    height: float
    style: str
    seed: int
    covered: float = 0.0

    @property
    def far_s(self) -> float:
        """Where it ends, for the painter's order."""
        return self.s1


@dataclass(frozen=True)
class Barrier:
    """A fence, railing, wall or hedge along the street at x, from s0 to s1; `kind` names it."""

    kind: str
    side: int
    x: float
    s0: float
    s1: float
    height: float
    seed: int

    @property
    def far_s(self) -> float:
        """Where it ends, for the painter's order."""
        return self.s1

    def pieces(self, length: float) -> Iterator[Barrier]:
        """Cut it where s is a multiple of `length`."""
        inner = np.arange(np.ceil(self.s0 / length), np.ceil(self.s1 / length)) * length
        ends = [self.s0, *inner[inner > self.s0].tolist(), self.s1]
        return (replace(self, s0=s0, s1=s1) for s0, s1 in itertools.pairwise(ends))


@dataclass(frozen=True)
class Item:
    """A thing at one place: a tree, lamp, sign, car, person. `heading` is relative to the street (0: along it).

    `kind` names the painter, `variant` the model; `phase` is the gait of what walks or pedals.
    """

    kind: str
    variant: str
    x: float
    s: float
    seed: int
    y: float = 0.0
    heading: float = 0.0
    phase: float = 0.0
    size: float = 1.0
    moving: bool = False

    @property
    def far_s(self) -> float:
        """Where it stands, for the painter's order."""
        return self.s


Thing = Building | Barrier | Item


@dataclass(frozen=True)
class Block:
    """One stretch of the street with all that stands still on it."""

    index: int
    junction: Junction | None
    things: tuple[Thing, ...]

    @property
    def start(self) -> float:
        """Where its buildings and sidewalks begin (after the junction)."""
        return self.junction.s1 if self.junction else self.index * LENGTH_M

    @property
    def end(self) -> float:
        """Where it ends."""
        return (self.index + 1) * LENGTH_M


@lru_cache(maxsize=64)
def block(plan: Plan, index: int) -> Block:
    """Make block `index` of the street."""
    from edgefsa.data.synthetic.furnish import furnish

    rng = stream(plan.seed, "block", index)
    junction = None
    if rng.random() < 0.38:
        start = index * LENGTH_M
        width = float(rng.uniform(7.0, 10.0))
        junction = Junction(start, start + width, bool(rng.random() < 0.55), bool(rng.random() < 0.5))
    made = Block(index, junction, ())
    return Block(index, junction, tuple(furnish(plan, made)))
