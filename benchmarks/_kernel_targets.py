"""What the project asks of the kernels, and which of it a measurement reached."""

from __future__ import annotations

from typing import Any

# A share of the bandwidth that a large copy reaches on the same machine, bytes counted once.
SHARE = 0.8
SHARED = ("truncated DCT", "inverse DCT", "spectral mask", "upsample + argmax")
# So many times faster than a PyTorch form.
SPEEDUPS = {
    ("attention block", "dense PyTorch"): 10.0,
    ("attention block", "separable, torch.compile"): 3.0,
    ("spectral mask", "torch.fft"): 8.0,
}
MAX_RELATIVE_L2 = 5e-3  # to the formula, for kernels in FP16


def targets_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """List every target at every size, as kernel, size, target, wanted, reached and is_reached.

    What could not be measured has `reached` None, and counts as missed.
    """
    return [target for row in rows for item in row["kernels"] for target in _targets_of_kernel(row, item)]


def _targets_of_kernel(row: dict[str, Any], item: dict[str, Any]) -> list[dict[str, Any]]:
    name = item["kernel"]
    error = row["relative_l2"][name]
    found = [("error against the formula", MAX_RELATIVE_L2, error, error <= MAX_RELATIVE_L2)]
    if name in SHARED:
        found.append(("share of the copy bandwidth", SHARE, item["share"], item["share"] >= SHARE))
    for (kernel, form), wanted in SPEEDUPS.items():
        if kernel == name:
            reached = item["times_faster"].get(form)
            found.append((f"times faster than {form}", wanted, reached, reached is not None and reached >= wanted))
    keys = ("kernel", "shape", "target", "wanted", "reached", "is_reached")
    return [dict(zip(keys, (name, row["shape"], *values), strict=True)) for values in found]


def cells_of(targets: list[dict[str, Any]]) -> list[list[str]]:
    """Return the rows of a table: kernel, size, target, wanted, reached, yes or no."""
    return [
        [
            target["kernel"],
            " x ".join(map(str, target["shape"])),
            target["target"],
            f"{target['wanted']:g}",
            "not measured" if target["reached"] is None else f"{target['reached']:.2g}",
            "yes" if target["is_reached"] else "no",
        ]
        for target in targets
    ]
