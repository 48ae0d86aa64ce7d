"""SpectralMask's kernels on the host against the formula in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgefsa.models.bases import disc_bases
from tests.kernels.conftest import Emulate
from tests.kernels.emulation.build import Operator
from tests.kernels.emulation.run import Device, EmulatedOperator
from tests.kernels.tensors import FLOAT, HALF, HWC8, INT8, LINEAR, from_format, relative_l2, to_format

OPERATOR = Operator(
    "SpectralMask",
    "spectral_mask",
    "spectral_mask.h",
    ("spectral_mask.cu",),
    ("x", "y", "gain", "basis_h", "basis_w", "coupling_gain", "coupling_base"),
    ("type", "format", "batch", "channels", "height", "width", "modes_h", "modes_w", "passes"),
    ("x_scale", "y_scale"),
    workspace="spectralMaskWorkspaceBytes",
    served="isServed",
)
CHOSEN, ONE, TWO = 0, 1, 2  # Passes
TOLERANCE = {FLOAT: 1e-5, HALF: 2e-3}

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Case:
    """Shape (N, C, H, W), radius of the disc or numbers of arbitrary modes (mh, mw), largest value."""

    shape: tuple[int, int, int, int]
    radius: int = 0
    modes: tuple[int, int] = (0, 0)
    largest: float = 3.0


def tensors_of(case: Case, seed: int = 0) -> dict[str, Array]:
    """Make x and the node's other inputs, float32."""
    random = np.random.default_rng(seed)
    _, channels, height, width = case.shape
    x = random.uniform(-case.largest, case.largest, case.shape)
    gain = np.array([0.7, 0.8, 0.9])[np.arange(channels) % 3]
    if case.radius:
        bases = disc_bases(height, width, case.radius)
        basis_h, basis_w = bases.basis_h, bases.basis_w
        coupling_gain, coupling_base = 2 * bases.inside + bases.edge, bases.inside + 2 / 3 * bases.edge
    else:
        basis_h = random.standard_normal((height, case.modes[0])) / np.sqrt(height)
        basis_w = random.standard_normal((width, case.modes[1])) / np.sqrt(width)
        tokens = case.modes[0] * case.modes[1]
        coupling_gain, coupling_base = random.standard_normal((2, tokens, tokens)) / np.sqrt(tokens)
    made = {"x": x, "gain": gain, "basis_h": basis_h, "basis_w": basis_w}
    made |= {"coupling_gain": coupling_gain, "coupling_base": coupling_base}
    return {name: value.astype(np.float32) for name, value in made.items()}


def formula(tensors: dict[str, Array]) -> Array:
    """The operator's formula (edgefsa/models/formulas.py) in float64."""
    x, gain, basis_h, basis_w, coupling_gain, coupling_base = (tensors[name].astype(np.float64) for name in NAMES)
    tokens = np.einsum("ha,nchw,wb->ncab", basis_h, x, basis_w).reshape(*x.shape[:2], -1)
    change = gain[:, None] * (tokens @ coupling_gain) - tokens @ coupling_base
    change = change.reshape(*x.shape[:2], basis_h.shape[1], basis_w.shape[1])
    return np.asarray((1 - gain)[:, None, None] * x + np.einsum("ha,ncab,wb->nchw", basis_h, change, basis_w))


NAMES = ("x", "gain", "basis_h", "basis_w", "coupling_gain", "coupling_base")
DTYPES = {FLOAT: np.float32, HALF: np.float16, INT8: np.int8}


def settings_of(
    tensors: dict[str, Array], kind: int, form: int, scales: tuple[float, float] = (1, 1), passes: int = CHOSEN
) -> dict[str, Any]:
    batch, channels, height, width = tensors["x"].shape
    sizes = {"batch": batch, "channels": channels, "height": height, "width": width}
    modes = {"modes_h": tensors["basis_h"].shape[1], "modes_w": tensors["basis_w"].shape[1]}
    kinds = {"type": kind, "format": form, "passes": passes}
    return {"x_scale": scales[0], "y_scale": scales[1], **kinds, **sizes, **modes}


def run(
    operator: EmulatedOperator,
    tensors: dict[str, Array],
    kind: int = FLOAT,
    form: int = LINEAR,
    device: Device | None = None,
    scales: tuple[float, float] = (1, 1),
    passes: int = CHOSEN,
) -> Array:
    """Run on x, stored as type `kind` in format `form`, and return y as [N, C, H, W]."""
    stored = to_format(tensors["x"].astype(DTYPES[kind]), form)
    inputs = {**tensors, "x": stored}
    outputs = operator.run(
        inputs, {"y": (stored.shape, stored.dtype)}, settings_of(tensors, kind, form, scales, passes), device
    )
    return from_format(outputs["y"], form, tensors["x"].shape[1])


CASES = [
    Case((1, 3, 16, 64), radius=1),
    Case((3, 1, 8, 24), radius=2),
    Case((1, 19, 13, 17), radius=2),
    Case((1, 65, 7, 9), radius=1),
    Case((1, 2, 70, 40), radius=2, largest=1e4),
    Case((1, 3, 1, 31), modes=(1, 3)),
    Case((3, 3, 29, 1), modes=(5, 1)),
    Case((1, 2, 12, 16), modes=(9, 9)),
    Case((1, 2, 9, 8), modes=(7, 16)),
    Case((1, 1, 2, 1032), modes=(2, 3)),
]


def least_device(tensors: dict[str, Array], kind: int, form: int) -> Device:
    """A device whose shared memory holds the bases and the sums, but not a plane as well."""
    _, _, height, width = tensors["x"].shape
    modes_h, modes_w = tensors["basis_h"].shape[1], tensors["basis_w"].shape[1]
    is_scalar = form == LINEAR and width % {FLOAT: 4, HALF: 8, INT8: 8}[kind] != 0
    row_stride = 12 if is_scalar or modes_h > 5 else 8 if modes_h > 3 else 4
    tokens = modes_h * modes_w * (32 if form == HWC8 else 1)
    floats = min(height, 64) * row_stride + round_up(width * modes_w) + 10 * round_up(tokens)
    return Device(shared_bytes=4 * floats)


def round_up(count: int) -> int:
    return -(-count // 4) * 4


@pytest.mark.parametrize("passes", [ONE, TWO])
@pytest.mark.parametrize(("kind", "form"), [(FLOAT, LINEAR), (HALF, LINEAR), (HALF, HWC8)])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_formula(emulate: Emulate, case: Case, kind: int, form: int, passes: int) -> None:
    operator = emulate(OPERATOR)
    tensors = tensors_of(case)
    tensors["x"] = tensors["x"].astype(DTYPES[kind]).astype(np.float32)
    device = least_device(tensors, kind, form) if passes == TWO else Device(shared_bytes=1 << 18)
    assert relative_l2(run(operator, tensors, kind, form, device, passes=passes), formula(tensors)) < TOLERANCE[kind]
    # Two passes count in memory that is filled with zeros before.
    assert (operator.launches, operator.fills) == (1, 0 if passes == ONE else 1)


@pytest.mark.parametrize("multiprocessors", [1, 4, 64], ids=lambda count: f"{count} multiprocessors")
def test_the_second_pass_of_a_plane_follows_its_first_at_any_distance(emulate: Emulate, multiprocessors: int) -> None:
    operator, tensors = emulate(OPERATOR), tensors_of(Case((1, 13, 33, 8), radius=1))
    # Three bands to a plane, and the passes 1, 3 or all 13 planes apart.
    device = Device(multiprocessors=multiprocessors, cache_bytes=2 << 10)
    assert relative_l2(run(operator, tensors, device=device, passes=TWO), formula(tensors)) < TOLERANCE[FLOAT]


# By NVIDIA's data sheets and "Technical specifications per compute capability": a block's shared memory, the
# multiprocessors, the compute capability and the L2 cache; and the passes at 128 x 256.
DEVICES = {
    "T4": (Device(64 << 10, 40, 75, 4 << 20), TWO),
    "Jetson AGX Orin": (Device(163 << 10, 16, 87, 4 << 20), ONE),
    "RTX 4070": (Device(99 << 10, 46, 89, 36 << 20), TWO),
    "H100": (Device(227 << 10, 132, 90, 50 << 20), ONE),
    "B200": (Device(227 << 10, 148, 100, 126 << 20), ONE),
    "RTX 5070": (Device(99 << 10, 48, 120, 48 << 20), TWO),
}


@pytest.mark.parametrize(("device", "passes"), DEVICES.values(), ids=DEVICES)
def test_one_pass_is_chosen_where_two_planes_fit_into_a_multiprocessor(
    emulate: Emulate, device: Device, passes: int
) -> None:
    operator = emulate(OPERATOR)
    for size, expected in [((128, 256), passes), ((16, 64), ONE)]:
        tensors = tensors_of(Case((1, 1, *size), radius=2))
        tensors["x"] = tensors["x"].astype(np.float16).astype(np.float32)
        settings = settings_of(tensors, HALF, LINEAR)
        inputs = {**tensors, "x": tensors["x"].astype(np.float16)}
        assert operator.status(inputs, {"y": (tensors["x"].shape, np.float16)}, settings, device) == 0
        assert operator.fills == (1 if expected == TWO else 0)


def test_a_large_plane_takes_the_shared_memory_that_the_readme_says(emulate: Emulate) -> None:
    operator, tensors = emulate(OPERATOR), tensors_of(Case((1, 1, 128, 256), radius=2))
    tensors["x"] = tensors["x"].astype(np.float16).astype(np.float32)
    y = run(operator, tensors, HALF, LINEAR, Device(shared_bytes=75_872), passes=ONE)
    assert relative_l2(y, formula(tensors)) < TOLERANCE[HALF]
    assert not operator.is_served(settings_of(tensors, HALF, LINEAR, passes=ONE), Device(shared_bytes=75_871))


def test_what_a_model_computes(emulate: Emulate) -> None:
    torch = pytest.importorskip("torch")
    from edgefsa.models import SpectralMask

    layer = SpectralMask(19, radius=2)
    tensors = tensors_of(Case((2, 19, 12, 24), radius=2))
    expected = layer(torch.from_numpy(tensors["x"])).detach().numpy()
    node = layer.operator(12, 24).tensors
    tensors |= {name: value.detach().numpy().astype(np.float32) for name, value in node.items()}
    assert relative_l2(run(emulate(OPERATOR), tensors), expected) < 1e-5


@pytest.mark.parametrize("shape", [(2, 3, 12, 16), (1, 19, 7, 11)], ids=str)
@pytest.mark.parametrize("passes", [ONE, TWO])
def test_int8_rounds_the_formula(emulate: Emulate, shape: tuple[int, int, int, int], passes: int) -> None:
    tensors = tensors_of(Case(shape, radius=2, largest=127))
    tensors["x"] = np.rint(tensors["x"])
    x_scale, y_scale = 0.03, 0.01
    y = run(emulate(OPERATOR), tensors, INT8, LINEAR, None, (x_scale, y_scale), passes)
    real = formula(tensors | {"x": x_scale * tensors["x"]}) / y_scale
    assert np.abs(real).max() > 128, "nothing is saturated"
    assert np.abs(np.clip(real, -128, 127) - y).max() < 0.5 + 1e-4


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", [LINEAR, HWC8])
def test_a_value_that_is_not_finite_reaches_its_own_plane_only(emulate: Emulate, value: float, form: int) -> None:
    tensors = tensors_of(Case((2, 9, 6, 8), radius=1))
    tensors["x"] = tensors["x"].astype(np.float16).astype(np.float32)
    tensors["x"][1, 2, 3, 4] = value
    with np.errstate(invalid="ignore"):
        expected = formula(tensors)
    y = run(emulate(OPERATOR), tensors, HALF, form)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    kept = np.isfinite(expected)
    assert kept.sum() == kept.size - 6 * 8
    np.testing.assert_allclose(y[kept], expected[kept], atol=1e-2)


def test_halves_overflow_to_infinity_as_their_formula_does(emulate: Emulate) -> None:
    tensors = tensors_of(Case((1, 2, 8, 16), radius=1, largest=6e4))
    tensors["gain"][:] = -1
    tensors["x"] = tensors["x"].astype(np.float16).astype(np.float32)
    with np.errstate(over="ignore"):
        expected = formula(tensors).astype(np.float16)
    assert np.isinf(expected).any()
    np.testing.assert_array_equal(np.isinf(run(emulate(OPERATOR), tensors, HALF)), np.isinf(expected))
