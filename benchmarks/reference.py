"""Frame-to-mask latency in INT8 of the two edge models as a share of a plain ResNet-18 at output stride 8.

All are built by the same pipeline and take turns in one run, on a frame of the networks' own size. A share of
another machine or another run says nothing here: the reference is measured again each time.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from _common import Rows, argument_parser, build, build_module, measure_engines, save
from _networks import cost_of, layers_of
from torch import Tensor, nn

from edgefsa.build import ModelRequest, model_from_request
from edgefsa.console import run, table
from edgefsa.models.config import ModelConfig
from edgefsa.models.resnet import ResNetTrunk

REFERENCE = "resnet18-os8-fcn"
# The largest share of the reference's time that each model is meant to take.
LIMITS = {"fsanet-edge": 0.40, "spanet-edge": 0.80}
TARGETS = ("openvino", "onnxruntime")


class ResNet18Fcn(ResNetTrunk):
    """ResNet-18 (He et al., 2015) with dilation in place of the last two strides, and a 1x1 convolution to classes.

    Float [N, 3, H, W], normalised RGB, to logits [N, K, H / 8, W / 8]. The simplest head of a fully convolutional
    network (Long et al., 2015): a wider one would make the reference slower and the shares of it smaller.
    """

    def __init__(self, num_classes: int = 11) -> None:
        super().__init__(18, stem_channels=64, contract_dilation=True)
        self.config = ModelConfig(REFERENCE, "fcn", num_classes)
        stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        self.classifier = nn.Conv2d(self.out_channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits at stride 8."""
        self.config.check_input(x)
        _, fourth = self.stages(self.stem(x))
        logits: Tensor = self.classifier(fourth)
        return logits


def build_all(models: list[str], size_hw: tuple[int, int], scratch: Path) -> dict[tuple[str, str], Path]:
    """Build the reference and `models` in INT8 for both targets; engines by (model, target)."""
    pairs = [(target, "int8") for target in TARGETS]
    (scratch / REFERENCE).mkdir()
    built = build_module(ResNet18Fcn().eval(), scratch / REFERENCE, engines=pairs, data="synthetic", size_hw=size_hw)
    engines = {(REFERENCE, target): built[f"{target} int8"] for target in TARGETS}
    for model in models:
        for target in TARGETS:
            engines[model, target] = build(model, "int8", target, scratch, size_hw)
    return engines


def measure_all(engines: dict[tuple[str, str], Path], size_hw: tuple[int, int], rounds: int) -> Rows:
    """Measure all engines in turns; a row each, its share that of the reference on the same target."""
    stats = measure_engines({f"{model} {target}": path for (model, target), path in engines.items()}, size_hw, rounds)
    rows: Rows = []
    for model, target in engines:
        ours, reference = (stats[f"{name} {target}"]["frame_to_mask_ms"] for name in (model, REFERENCE))
        rows.append(
            {
                "model": model,
                "target": target,
                "precision": "int8",
                "frame_to_mask_ms": round(ours["median"], 3),
                "p95_ms": round(ours["p95"], 3),
                "engine_ms": round(stats[f"{model} {target}"]["latency_ms"]["median"], 3),
                "share": round(ours["median"] / reference["median"], 3),
                "share_limit": LIMITS.get(model),
            }
        )
    return rows


def facts_of(models: list[str], size_hw: tuple[int, int]) -> dict[str, Any]:
    """Return parameters, MACs and layers of the reference and of `models`."""
    networks: dict[str, nn.Module] = {REFERENCE: ResNet18Fcn()}
    networks |= {model: model_from_request(ModelRequest(model))[0] for model in models}
    return {
        name: {**cost_of(network, size_hw), "layers": layers_of(network, size_hw)} for name, network in networks.items()
    }


def cells(rows: Rows) -> list[list[str]]:
    """Lay the rows out for people."""
    return [
        [
            row["model"],
            row["target"],
            f"{row['frame_to_mask_ms']:.2f}",
            f"{row['engine_ms']:.2f}",
            f"{row['share']:.2f}",
            "-" if row["share_limit"] is None else f"{row['share_limit']:.2f}",
        ]
        for row in rows
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argument_parser(__doc__, sized=True)
    parser.add_argument("models", nargs="*", default=list(LIMITS))
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args(argv)
    models, size_hw = arguments.models, arguments.size
    with tempfile.TemporaryDirectory() as scratch:
        rows = measure_all(build_all(models, size_hw, Path(scratch)), size_hw, arguments.rounds)
    print(table(["model", "target, INT8", "frame to mask, ms", "engine, ms", "share", "limit"], cells(rows)))
    command = "python benchmarks/reference.py"
    save("reference-cpu", command, rows, arguments.results, size_hw=list(size_hw), networks=facts_of(models, size_hw))


if __name__ == "__main__":
    run(main)
