"""Reports that were not measured, for tests of what is made of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgefsa.data.classes import ClassSet
from edgefsa.verify.accuracy import AccuracyReport
from edgefsa.verify.footprint import Footprint
from edgefsa.verify.frame_details import FrameDetails, WorstFrame
from edgefsa.verify.report import DataFacts, EngineFacts, LayerRun, Report

CLASSES = ClassSet("streets", ("sky", "car & van", "fence"), ((10, 20, 30), (200, 0, 0), (0, 200, 0)), 255)
FRAMES = 12
ROUNDS = 100


def details(miou: float = 0.6, frames: int = FRAMES, seed: int = 0) -> FrameDetails:
    """Frames whose classes "sky" and "car & van" have about this IoU; "fence" is never there."""
    random = np.random.default_rng(seed)
    unions = random.integers(800, 1200, (frames, 3))
    hits = (unions * np.clip(miou + 0.05 * random.standard_normal((frames, 3)), 0, 1)).astype(np.int64)
    hits[:, 2] = unions[:, 2] = 0
    confusion = np.array([[900, 100, 0], [50, 450, 0], [0, 0, 0]])
    picture = np.full((12, 16, 3), 90, np.uint8)
    worst = (WorstFrame("frame-3", 0.31, picture, picture, picture, picture),)
    names = tuple(f"frame-{index}" for index in range(frames))
    return FrameDetails(CLASSES, names, hits, unions, confusion, (0.5, 0.25, None), worst)


def times(median_ms: float, rounds: int = ROUNDS, seed: int = 0, spread: float = 0.02) -> list[float]:
    """Times around a median, in milliseconds."""
    random = np.random.default_rng(seed)
    return (median_ms * (1 + spread * random.standard_normal(rounds))).tolist()


def facts(name: str, precision: str, median_ms: float, miou: float | None, weights: str = "trained") -> EngineFacts:
    """An engine with INT8 or without, its time from frame to mask and its mIoU (0 to 1)."""
    stats = {"min": median_ms - 1, "median": median_ms, "p95": median_ms + 1, "p99": median_ms + 2}
    per_class: dict[str, float | None] = {"sky": miou, "car & van": 0.4, "fence": None}
    int8 = precision == "int8"
    runs = (LayerRun("int8" if int8 else "f32", True, 20), LayerRun("f32", False, 2), LayerRun("i64", False, 1))
    return EngineFacts(
        name=name,
        target="openvino",
        precision=precision,
        size_hw=(360, 480),
        batch=1,
        weights=weights,
        layers={"int8": 20, "f32": 3},
        layer_map=runs,
        evidence="engine",
        int8_macs_share=0.915 if int8 else 0.0,
        fp16_macs_share=0.0,
        macs=3_110_000_000,
        latency_ms=stats,
        frame_to_mask_ms=stats,
        stages_ms={"prepare": 0.1 * median_ms, "copy": 0.0, "engine": 0.7 * median_ms, "mask": 0.2 * median_ms},
        times_ms={"engine": times(median_ms), "frame_to_mask": times(median_ms), "yardstick": times(3.0)},
        fps=1000 / median_ms,
        throughput={"in_flight": 2, "fps": 1500 / median_ms},
        bytes_on_disk=12 * 2**20,
        footprint=Footprint(140.4, 0.31, 22.0),
        accuracy=None if miou is None else AccuracyReport(miou, 0.9, per_class, FRAMES),
        details=None if miou is None else details(miou),
    )


def report(*engines: EngineFacts, **changes: Any) -> Report:
    """A report of engines on a machine whose name needs escaping."""
    machine = {
        "cpu": "A <fast> CPU",
        "architecture": "x86_64",
        "cores_usable": 2,
        "board": None,
        "gpus": [],
        "os": "Linux",
        "packages": {"numpy": "2.0"},
        "cpu_features": ["avx2"],
    }
    data = DataFacts("camvid", "val", CLASSES.names, "ab" * 32)
    values = {"title": "Engines", "date": "2026-01-02", "machine": machine, "engines": engines, "data": data}
    return Report(**{**values, **changes})
