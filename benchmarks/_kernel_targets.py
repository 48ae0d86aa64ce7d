"""What the project asks of the kernels, and which of it a measurement reached."""

from __future__ import annotations

from typing import Any

from _kernel_sizes import FLOAT_VARIANTS

# The speed of a copy of as many bytes, in the same state of the cache: batch -> the least share of it.
SHARES = {1: 0.6, 8: 0.8}
SHARED = ("truncated DCT", "inverse DCT", "spectral mask", "upsample + argmax")
# So many times faster than a PyTorch form.
SPEEDUPS = {
    ("attention block", "dense PyTorch"): 10.0,
    ("attention block", "separable, torch.compile"): 3.0,
    ("spectral mask", "torch.fft"): 8.0,
}
AIMED_AT = tuple(variant.label for variant in FLOAT_VARIANTS)


def targets_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """List every target at every size, as kernel, variant, shape, target, wanted, reached and is_reached.

    A form that failed has `reached` None, and counts as missed.
    """
    return [target for row in rows for item in row["kernels"] for target in _targets_of_kernel(row["shape"], item)]


def _targets_of_kernel(shape: list[int], item: dict[str, Any]) -> list[dict[str, Any]]:
    name, found = item["kernel"], []
    wanted = SHARES.get(shape[0])
    if name in SHARED and item["variant"] in AIMED_AT and wanted is not None:
        found.append(("share of an equal copy's speed", wanted, item["share"], item["share"] >= wanted))
    for form, reached in item["times_faster"].items():
        wanted = SPEEDUPS.get((name, form))
        if wanted is not None:
            found.append((f"times faster than {form}", wanted, reached, reached is not None and reached >= wanted))
    keys = ("kernel", "variant", "shape", "target", "wanted", "reached", "is_reached")
    return [dict(zip(keys, (name, item["variant"], shape, *values), strict=True)) for values in found]


def wrong_kernels(rows: list[dict[str, Any]]) -> list[str]:
    """Name every kernel whose result is not the formula's."""
    return [
        f"{item['kernel']}, {item['variant']}, at {'x'.join(map(str, row['shape']))}: {item['error_kind']} is "
        f"{item['error']:.2g}, and it can be {item['largest_error']:g}"
        for row in rows
        for item in row["kernels"]
        if not item["error"] <= item["largest_error"]  # NaN is wrong too
    ]


def cells_of(targets: list[dict[str, Any]]) -> list[list[str]]:
    """Return the rows of a table: kernel, variant, size, target, wanted, reached, yes or no."""
    return [
        [
            *(target["kernel"], target["variant"], "x".join(map(str, target["shape"])), target["target"]),
            f"{target['wanted']:g}",
            "not measured" if target["reached"] is None else f"{target['reached']:.2g}",
            "yes" if target["is_reached"] else "no",
        ]
        for target in targets
    ]
