"""What moves: cars, bicyclists and people, as functions of time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from edgefsa.data.synthetic.camera import REACH_M
from edgefsa.data.synthetic.furnish import draw_car
from edgefsa.data.synthetic.noise import stream
from edgefsa.data.synthetic.street import KERB_M, Item, Plan

_SLOT_M = 26.0
_WALK_SLOT_M = 9.0
_ONCOMING_SPEED = 9.0
_RIDE_SPEED = 4.6


def moving_things(plan: Plan, camera_s: float, travelled: float, time_s: float) -> Iterator[Item]:
    """Yield what moves, at `time_s`, near a camera at `camera_s` that has come `travelled` metres."""
    yield from _same_lane(plan, camera_s, travelled, time_s)
    yield from _oncoming(plan, camera_s, time_s)
    yield from _riders(plan, camera_s, time_s)
    for side in (0, 1):
        yield from _walkers(plan, side, camera_s, time_s)


def _same_lane(plan: Plan, camera_s: float, travelled: float, time_s: float) -> Iterator[Item]:
    # The queue ahead keeps the camera's pace; gaps breathe a little.
    start = camera_s - travelled
    rng = stream(plan.seed, "queue")
    at = start + float(rng.uniform(9.0, 16.0) if rng.random() < 0.5 else rng.uniform(18, 45))
    for index in range(7):
        if rng.random() < 0.25 + 0.6 * plan.traffic:
            breathe = 1.2 * np.sin(0.4 * time_s + index)
            x = plan.drive_side * (plan.lane / 2 + float(rng.normal(0, 0.15)))
            variant = "bus" if rng.random() < 0.06 and at > start + 16 else draw_car(rng)
            s = at + travelled + float(breathe)
            yield Item("car", variant, x, s, int(rng.integers(1 << 30)), heading=0.0, moving=True)
        at += float(rng.uniform(9, 24)) + 4


def _oncoming(plan: Plan, camera_s: float, time_s: float) -> Iterator[Item]:
    shift = _ONCOMING_SPEED * time_s
    first = int((camera_s + shift) // _SLOT_M) - 1
    for index in range(first, first + int(REACH_M / _SLOT_M)):
        chosen, variant, seed, place = _slot(plan.seed, "oncoming", index)
        if chosen > 0.15 + 0.6 * plan.traffic:
            continue
        s = (index + 0.2 + 0.5 * place) * _SLOT_M - shift
        x = -plan.drive_side * (plan.lane / 2 + 0.3 * place)
        yield Item("car", "bus" if place > 0.94 else variant, x, s, seed, heading=np.pi, moving=True)


def _riders(plan: Plan, camera_s: float, time_s: float) -> Iterator[Item]:
    for side in (0, 1):
        out = (-1, 1)[side]
        forward = out == plan.drive_side
        shift = _RIDE_SPEED * time_s * (1 if forward else -1)
        first = int((camera_s - shift) // _SLOT_M) - 1
        for index in range(first, first + 6):
            chosen, _, seed, place = _slot(plan.seed, f"rider {side}", index)
            if chosen > 0.55 * plan.cyclists:
                continue
            x = plan.kerb(side) - out * (0.75 + plan.parking[side])
            s = (index + place) * _SLOT_M + shift
            heading = 0.0 if forward else np.pi
            yield Item("bicyclist", "", x, s, seed, heading=heading, phase=4.5 * time_s + seed % 7, moving=True)


def _walkers(plan: Plan, side: int, camera_s: float, time_s: float) -> Iterator[Item]:
    out = (-1, 1)[side]
    reach = 1.7 * time_s
    first, last = int((camera_s - reach) // _WALK_SLOT_M), int((camera_s + 100 + reach) // _WALK_SLOT_M)
    for index in range(first, last):
        chosen, _, seed, place = _slot(plan.seed, f"walker {side}", index)
        if chosen > 0.36 * plan.walkers:
            continue
        rng = stream(seed, "walk")
        stands = rng.random() < 0.2
        pace = 0.0 if stands else float(rng.uniform(1.0, 1.6)) * float(rng.choice([-1, 1]))
        s = (index + place) * _WALK_SLOT_M + pace * time_s
        if not camera_s < s < camera_s + 100:
            continue
        room = abs(plan.front(side) - plan.kerb(side)) - 0.8
        x = plan.kerb(side) + out * (0.5 + max(0.1, room) * float(rng.random()))
        heading = float(rng.uniform(-np.pi, np.pi)) if stands else (0.0 if pace > 0 else np.pi)
        size = float(rng.uniform(0.92, 1.08)) if rng.random() < 0.9 else 0.7
        phase = 4.2 * abs(pace) * time_s + seed % 6
        for partner in range(2 if rng.random() < 0.3 else 1):
            apart = out * 0.55 * partner
            yield Item(
                "pedestrian",
                "standing" if stands else "walking",
                x + apart,
                s + 0.2 * partner,
                seed + partner,
                KERB_M,
                heading,
                phase + partner,
                size,
                True,
            )


@lru_cache(maxsize=4096)
def _slot(seed: int, lane: str, index: int) -> tuple[float, str, int, float]:
    """Return what may fill place `index` of a lane: a chance, a car's model, a seed, and a place within (0 to 1)."""
    rng = stream(seed, lane, index)
    return float(rng.random()), draw_car(rng), int(rng.integers(1 << 30)), float(rng.random())
