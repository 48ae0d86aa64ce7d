"""Whole networks in PyTorch on a GPU, with the project's kernels as custom operators and without.

    EDGEFSA_KERNELS=build/on_gpu/kernels-sm_90.so python benchmarks/networks_on_gpu.py [--output networks.json]

From a normalised image to class indices at its size, FP16 and channels-last, batch 1. Four forms of each: PyTorch as it
is, with the kernels, and both through torch.compile. Times are of CUDA graphs, cold, in turn, so that launches from
Python do not count; the logits of every form are held against float32. The JSON is written after each form. Status 0,
or 3 where a form is further from float32 than twice what FP16 is by itself, 2 where there is no GPU.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from _gpu import cold_medians_ms, gpu_description  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from edgefsa.artifacts import write_json  # noqa: E402
from edgefsa.kernels import upsample_argmax, use_kernels  # noqa: E402
from edgefsa.models import FrequencySelfAttention, create_model, load_default_weights  # noqa: E402

DEVICE = "cuda"
NETWORKS = ("fsanet-edge", "spanet-edge", "fsanet-r50")
TRAINED = ("fsanet-edge", "spanet-edge")
SIZE_HW = (512, 1024)
UNUSABLE, WRONG = 2, 3
FORMS = ("PyTorch", "kernels", "torch.compile", "torch.compile with kernels")
SLACK = 1e-3  # of the relative L2, beside twice that of PyTorch in FP16


class Segmentation(nn.Module):
    """A network, and the class of each pixel out of its logits."""

    def __init__(self, network: nn.Module, is_kernels: bool) -> None:
        super().__init__()
        self.network, self.is_kernels = network, is_kernels

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [N, K, h, w] and indices [N, H, W] of an image [N, 3, H, W]."""
        logits = self.network(image)
        height, width = image.shape[2:]
        if self.is_kernels:
            return logits, upsample_argmax(logits, height, width)
        return logits, F.interpolate(logits, (height, width), mode="bilinear").argmax(1)


def network_of(name: str) -> nn.Module:
    """Return a network for inference in float32; the attention of an untrained one is made to add something."""
    torch.manual_seed(0)
    model = create_model(name)
    if name in TRAINED:
        load_default_weights(model)
    for part in model.modules():
        if name not in TRAINED and isinstance(part, FrequencySelfAttention):
            nn.init.ones_(part.gain)
    return model.eval().to(DEVICE)


def form_of(name: str, network: nn.Module, size_hw: tuple[int, int]) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return one form of a network in FP16."""
    half = copy.deepcopy(network).half().to(memory_format=torch.channels_last)
    if "kernels" in name:
        use_kernels(half, size_hw)
    whole = Segmentation(half, "kernels" in name)
    return torch.compile(whole, dynamic=False) if "compile" in name else whole


def captured(call: Callable[[], Any]) -> Callable[[], Any]:
    """Return the replay of a CUDA graph of a call."""
    for _ in range(2):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def measure(name: str, rounds: int, size_hw: tuple[int, int], write: Callable[[], object], row: dict[str, Any]) -> None:
    """Fill `row` with what the forms of a network reach; one that fails leaves its reason."""
    network = network_of(name)
    image = torch.randn(1, 3, *size_hw, device=DEVICE)
    wanted = network(image)
    half = image.half().to(memory_format=torch.channels_last)
    calls: dict[str, Callable[[], Any]] = {}
    for form in FORMS:
        start = time.perf_counter()
        try:
            run = form_of(form, network, size_hw)
            logits, indices = run(half)
            error = float((logits.float() - wanted).norm() / wanted.norm())
            classes = F.interpolate(logits.float(), size_hw, mode="bilinear").argmax(1)
            agreement = float((indices == classes).float().mean())
            calls[form] = captured(lambda run=run: run(half))  # type: ignore[misc]
            row["forms"][form] = {"relative_l2": error, "same_classes": agreement}
        except Exception as error:  # of a compiler that is missing, say: the rest is measured all the same
            row["forms"][form] = {"failed": f"{type(error).__name__}: {str(error)[:300]}"}
        row["forms"][form]["seconds_to_start"] = time.perf_counter() - start
        for done, median in cold_medians_ms(calls, rounds).items():
            row["forms"][done]["median_ms"] = median
        write()


def faults(row: Mapping[str, Any]) -> list[str]:
    """Name the forms with kernels that are wrong, or that failed."""
    limit = 2 * row["forms"].get("PyTorch", {}).get("relative_l2", 0.0) + SLACK
    found = []
    for name, form in row["forms"].items():
        if "kernels" in name and "failed" in form and "torch.compile" not in name:
            found.append(f"{row['network']}, {name}: {form['failed']}")
        elif "kernels" in name and "failed" not in form:
            if not form["relative_l2"] <= limit:
                found.append(f"{row['network']}, {name}: relative L2 {form['relative_l2']:.1e}, at most {limit:.1e}")
            if not form["same_classes"] > 0.999:
                found.append(f"{row['network']}, {name}: {form['same_classes']:.4f} of the classes are the logits'")
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "networks-on-gpu.json")
    options = parser.parse_args(arguments)
    if DEVICE == "cuda" and not torch.cuda.is_available():
        print("error: this needs PyTorch with CUDA and an NVIDIA GPU", file=sys.stderr)
        return UNUSABLE
    rows: list[dict[str, Any]] = []
    record = {"gpu": gpu_description(), "size_hw": list(SIZE_HW), "is_complete": False, "rows": rows}

    def write() -> None:
        record["wrong"] = [fault for row in rows for fault in faults(row)]
        write_json(options.output, record)

    with torch.inference_mode():
        for name in options.networks:
            rows.append({"network": name, "forms": {}})
            measure(name, options.rounds, SIZE_HW, write, rows[-1])
    record["is_complete"] = True
    write()
    for row in rows:
        for name, form in row["forms"].items():
            shown = form.get("failed") or f"{form['median_ms']:.3f} ms, relative L2 {form['relative_l2']:.1e}"
            print(f"{row['network']}, {name}: {shown}")
    for wrong in record["wrong"]:  # type: ignore[attr-defined]
        print(f"WRONG: {wrong}")
    return WRONG if record["wrong"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
