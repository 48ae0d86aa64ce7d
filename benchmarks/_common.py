"""What the benchmark programs share: the PyTorch reference, engines built once, results written with the machine."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgefsa.artifacts import write_json
from edgefsa.build import BuildRequest, ModelRequest, build_from_request, model_from_request
from edgefsa.engines.device import cpu
from edgefsa.imaging import Frame, Mask, resize_frame, resize_mask
from edgefsa.verify.latency import machine_description

ENGINES = [("openvino", p) for p in ("fp32", "fp16", "int8")] + [("onnxruntime", p) for p in ("fp32", "int8")]
RESULTS = Path(__file__).parent / "results"


def save(name: str, command: str, rows: Any) -> None:
    """Write results/NAME.json: the rows, the command that makes them, the machine and the date."""
    machine = {**machine_description(), "cpu_features": list(cpu().features)}
    record = {"command": command, "date": datetime.date.today().isoformat(), "machine": machine, "rows": rows}
    print(f"wrote {write_json(RESULTS / f'{name}.json', record)}", file=sys.stderr)


def build(model: str, precision: str, target: str, output: Path, **options: Any) -> Path:
    """Build one engine into `output`."""
    request = BuildRequest(model, ModelRequest(), precision, target, output, **options)
    return Path(build_from_request(request, say=lambda line: print(line, file=sys.stderr))["engine"])


def torch_segmenter(name: str) -> Callable[[Frame], Mask]:
    """Give frame -> mask in PyTorch float32: resize, normalise, network, upsample, argmax, resize back."""
    import torch

    model, _ = model_from_request(ModelRequest(name))
    config = model.config
    mean = torch.tensor(config.mean_rgb).view(1, 3, 1, 1)
    std = torch.tensor(config.std_rgb).view(1, 3, 1, 1)

    def segment(frame: Frame) -> Mask:
        resized = resize_frame(frame, config.size_hw)
        with torch.inference_mode():
            rgb = torch.from_numpy(np.ascontiguousarray(resized[..., ::-1].transpose(2, 0, 1)))[None]
            logits = model((rgb.float() - mean) / std)
            logits = torch.nn.functional.interpolate(logits, config.size_hw, mode="bilinear", align_corners=False)
            mask = logits.argmax(1)[0].to(torch.uint8).numpy()
        return resize_mask(mask, frame.shape[:2])

    return segment


def load(name: str) -> dict[str, Any]:
    """Read results/NAME.json."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def accuracy_cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Give the table rows of an accuracy record; the first row is what the others are compared with."""
    baseline = rows[0]["miou"]
    return [
        [
            row["target"],
            row["precision"],
            f"{100 * row['miou']:.2f}",
            f"{100 * (row['miou'] - baseline):+.2f}".replace("-0.00", "+0.00"),
            f"{100 * row['pixel_accuracy']:.2f}",
        ]
        for row in rows
    ]


ACCURACY_HEADER = ["target", "precision", "mIoU %", "change", "pixel accuracy %"]
