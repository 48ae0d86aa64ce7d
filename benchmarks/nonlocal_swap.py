"""The trained non-local variant of fsanet-edge with its attention swapped for the frequency form, not trained again.

First the network: accuracy, cost and latency for each number k of kept frequencies. Then the block alone in
PyTorch, at its size in the network and at 128 x 256, where the affinity of all pairs of pixels takes 4 GiB (and as
much again while it is made).
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _common import Rows, accuracy_of, argument_parser, build_module, data_without_folder, measure_engines, save, say
from _networks import cost_of, layers_of
from ablation import VARIANTS, run_folder
from torch import Tensor, nn

from edgefsa.build import ModelRequest, model_from_request
from edgefsa.console import run, table
from edgefsa.data.readers import Dataset, open_dataset
from edgefsa.models import FrequencySelfAttention, replace_nonlocal
from edgefsa.models.costs import macs_of
from edgefsa.models.fsanet import EDGE_WIDTH
from edgefsa.models.nonlocal_attention import NonLocalAttention
from edgefsa.verify.latency import measure

VARIANT = "fsa_nonlocal"
ENGINES = [("openvino", "fp32"), ("openvino", "int8")]
LARGE_HW = (128, 256)


def networks(weights: Path, ks: list[int]) -> dict[str, nn.Module]:
    """Return the trained network, a copy for each k, and one whose attention's gain is 0: what the block is worth."""
    variant = VARIANTS[VARIANT]
    request = ModelRequest(variant.model, checkpoint=weights, options=dict(variant.options))
    trained, _ = model_from_request(request)
    swapped = {"non-local": trained}
    for k in ks:
        swapped[f"frequency, k = {k}"] = replace_nonlocal(copy.deepcopy(trained), k).eval()
    silent = replace_nonlocal(copy.deepcopy(trained), 1).eval()
    for module in silent.modules():
        if isinstance(module, FrequencySelfAttention):
            nn.init.zeros_(module.gain)
    return {**swapped, "gain set to 0": silent}


def evaluate_network(
    name: str, network: nn.Module, dataset: Dataset, size_hw: tuple[int, int], folder: Path
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Build and evaluate the engines of one network; return its row and its engines."""
    say(f"building and evaluating: {name}")
    folder.mkdir()
    engines = build_module(network, folder, engines=ENGINES, data=dataset.name, size_hw=size_hw)
    accuracy = {engine: accuracy_of(path, dataset) for engine, path in engines.items()}
    return {"attention": name, **cost_of(network, size_hw), "accuracy": accuracy}, engines


def network_rows(arguments: argparse.Namespace, scratch: Path) -> Rows:
    """Evaluate and measure the network in each form."""
    dataset = open_dataset(arguments.data, "val")
    rows: Rows = []
    engines: dict[str, Path] = {}
    for number, (name, network) in enumerate(networks(arguments.weights, arguments.k).items()):
        row, built = evaluate_network(name, network, dataset, arguments.size, scratch / str(number))
        rows.append(row)
        engines |= {f"{row['attention']} {engine}": path for engine, path in built.items()}
    stats = measure_engines(engines, arguments.size, arguments.rounds)
    for row in rows:
        times = {engine: stats[f"{row['attention']} {engine}"]["frame_to_mask_ms"] for engine in row["accuracy"]}
        row["frame_to_mask_ms"] = {engine: round(time["median"], 3) for engine, time in times.items()}
    return rows


def reordered(block: NonLocalAttention) -> Callable[[Tensor], Tensor]:
    """Return the dot-product form with its products in the order that has no pairs of pixels: value (key^T query).

    Without a softmax between them the products associate, so this is the same function at a linear cost.
    """

    def forward(x: Tensor) -> Tensor:
        tokens = x.flatten(2)
        query, key, value = block.query_conv(tokens), block.key_conv(tokens), block.value_conv(tokens)
        attended = (value @ key.mT / tokens.shape[2]) @ query + block.out_bias
        out: Tensor = (tokens + block.gamma * attended).view_as(x)
        return out

    return forward


def block_rows(size_hw: tuple[int, int], ks: list[int], rounds: int) -> Rows:
    """Measure the block alone on a feature map of `size_hw`, all forms in turns."""
    torch.manual_seed(0)
    x = torch.randn(1, EDGE_WIDTH, *size_hw)
    full = NonLocalAttention(EDGE_WIDTH).eval()
    forms: dict[str, Callable[[Tensor], Tensor]] = {"non-local": full, "non-local, products reordered": reordered(full)}
    forms |= {f"frequency, k = {k}": FrequencySelfAttention(EDGE_WIDTH, k=k).eval() for k in ks}
    with torch.inference_mode():
        stats = measure({name: partial(form, x) for name, form in forms.items()}, rounds=rounds, warmup=2)
    return [
        {
            "attention": name,
            "channels": EDGE_WIDTH,
            "size_hw": list(size_hw),
            "median_ms": round(stats[name].median, 3),
            "macs": macs_of(partial(form, x)),
        }
        for name, form in forms.items()
    ]


def cells(rows: Rows) -> list[list[str]]:
    """Lay the rows of the network out for people."""
    return [
        [
            row["attention"],
            *(f"{100 * row['accuracy'][f'openvino {precision}']['miou']:.2f}" for precision in ("fp32", "int8")),
            f"{row['macs'] / 1e9:.3f}",
            *(f"{row['frame_to_mask_ms'][f'openvino {precision}']:.2f}" for precision in ("fp32", "int8")),
        ]
        for row in rows
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argument_parser(__doc__, sized=True)
    parser.add_argument("--data", required=True, help="camvid:DIR")
    runs = run_folder(Path("runs"), VARIANT, seed=0)
    parser.add_argument("--weights", type=Path, default=runs / "weights.safetensors", help="of the non-local variant")
    parser.add_argument("--k", type=int, nargs="+", default=[4, 8, 12, 16])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--block-rounds", type=int, default=15)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        rows = network_rows(arguments, Path(scratch))
    variant = model_from_request(ModelRequest(VARIANTS[VARIANT].model, options=dict(VARIANTS[VARIANT].options)))[0]
    layer = next(layer for layer in layers_of(variant, arguments.size) if layer["layer"] == "attention")
    blocks = [
        row
        for size_hw in (tuple(layer["output"][1:]), LARGE_HW)
        for row in block_rows(size_hw, arguments.k, arguments.block_rounds)
    ]
    print(table(["attention", "mIoU % FP32", "INT8", "GMACs", "FP32, ms", "INT8, ms"], cells(rows)))
    sizes = [f"{row['size_hw'][0]} x {row['size_hw'][1]}" for row in blocks]
    figures = [(f"{row['median_ms']:.2f}", f"{row['macs'] / 1e6:.1f}") for row in blocks]
    print(
        table(
            ["block alone", "feature map", "ms", "MMACs"],
            [[row["attention"], size, *pair] for row, size, pair in zip(blocks, sizes, figures, strict=True)],
        )
    )
    command = f"python benchmarks/nonlocal_swap.py --data {data_without_folder(arguments.data)}"
    facts = {"size_hw": list(arguments.size), "blocks": blocks}
    save("nonlocal-swap-camvid", command, rows, arguments.results, **facts)


if __name__ == "__main__":
    run(main)
