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
    ("type", "format", "batch", "channels", "height", "width", "modes_h", "modes_w"),
    ("x_scale", "y_scale"),
    workspace="spectralMaskWorkspaceBytes",
    served="isServed",
)
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
    tensors: dict[str, Array], kind: int, form: int, scales: tuple[float, float] = (1, 1)
) -> dict[str, Any]:
    batch, channels, height, width = tensors["x"].shape
    sizes = {"batch": batch, "channels": channels, "height": height, "width": width}
    modes = {"modes_h": tensors["basis_h"].shape[1], "modes_w": tensors["basis_w"].shape[1]}
    return {"type": kind, "format": form, "x_scale": scales[0], "y_scale": scales[1], **sizes, **modes}


def run(
    operator: EmulatedOperator,
    tensors: dict[str, Array],
    kind: int = FLOAT,
    form: int = LINEAR,
    device: Device | None = None,
    scales: tuple[float, float] = (1, 1),
) -> Array:
    """Run on x, stored as type `kind` in format `form`, and return y as [N, C, H, W]."""
    stored = to_format(tensors["x"].astype(DTYPES[kind]), form)
    inputs = {**tensors, "x": stored}
    outputs = operator.run(
        inputs, {"y": (stored.shape, stored.dtype)}, settings_of(tensors, kind, form, scales), device
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
    """A device whose shared memory holds the bases and the sums, but not a plane as well: it takes two passes."""
    _, _, height, width = tensors["x"].shape
    modes_h, modes_w = tensors["basis_h"].shape[1], tensors["basis_w"].shape[1]
    is_scalar = form == LINEAR and width % {FLOAT: 4, HALF: 8, INT8: 8}[kind] != 0
    row_stride = 12 if is_scalar or modes_h > 5 else 8 if modes_h > 3 else 4
    tokens = modes_h * modes_w * (32 if form == HWC8 else 1)
    floats = min(height, 64) * row_stride + round_up(width * modes_w) + 10 * round_up(tokens)
    return Device(shared_bytes=4 * floats)


def round_up(count: int) -> int:
    return -(-count // 4) * 4


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize(("kind", "form"), [(FLOAT, LINEAR), (HALF, LINEAR), (HALF, HWC8)])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_formula(emulate: Emulate, case: Case, kind: int, form: int, passes: int) -> None:
    operator = emulate(OPERATOR)
    tensors = tensors_of(case)
    tensors["x"] = tensors["x"].astype(DTYPES[kind]).astype(np.float32)
    device = least_device(tensors, kind, form) if passes == 2 else Device(shared_bytes=1 << 18)
    assert relative_l2(run(operator, tensors, kind, form, device), formula(tensors)) < TOLERANCE[kind]
    assert (operator.launches == 1) if passes == 1 else (operator.launches % 2 == 0)


@pytest.mark.parametrize(("shared_bytes", "launches"), [(75_872, 1), (75_871, 2)])
def test_a_large_plane_takes_the_shared_memory_that_the_readme_says(
    emulate: Emulate, shared_bytes: int, launches: int
) -> None:
    operator = emulate(OPERATOR)
    tensors = tensors_of(Case((1, 1, 128, 256), radius=2))
    tensors["x"] = tensors["x"].astype(np.float16).astype(np.float32)
    y = run(operator, tensors, HALF, LINEAR, Device(shared_bytes=shared_bytes))
    assert relative_l2(y, formula(tensors)) < TOLERANCE[HALF]
    assert operator.launches == launches


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
@pytest.mark.parametrize("passes", [1, 2])
def test_int8_rounds_the_formula(emulate: Emulate, shape: tuple[int, int, int, int], passes: int) -> None:
    tensors = tensors_of(Case(shape, radius=2, largest=127))
    tensors["x"] = np.rint(tensors["x"])
    x_scale, y_scale = 0.03, 0.01
    device = least_device(tensors, INT8, LINEAR) if passes == 2 else None
    y = run(emulate(OPERATOR), tensors, INT8, LINEAR, device, (x_scale, y_scale))
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
