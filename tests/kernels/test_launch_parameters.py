"""What each launcher refuses: with an error, and before anything is launched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tests.kernels import test_spectral_mask as mask
from tests.kernels import test_upsample_argmax as upsampling
from tests.kernels.conftest import Emulate
from tests.kernels.emulation.build import Operator
from tests.kernels.emulation.run import Array, Device
from tests.kernels.tensors import FLOAT, HALF, HWC8, INT8, LINEAR
from tests.kernels.truncated_dct_attention import (
    ATTENTION,
    COEFFICIENT_ATTENTION,
    DCT,
    INVERSE_DCT,
    LINSOFTMAX,
    Case,
    attributes_of,
    settings_of,
    tensors_of,
    token_stride,
)

SUCCESS, INVALID_VALUE = 0, 1
SHAPE, K = (2, 9, 6, 8), (3, 4)
ALL_TYPES = ((FLOAT, LINEAR), (HALF, LINEAR), (INT8, LINEAR), (HALF, HWC8))


@dataclass(frozen=True)
class Call:
    """A launch that succeeds, in each of `types` (type, format), and the values of its fields that do not.

    `maps` are the pointers that channels-last launches need 16-byte aligned.
    """

    operator: Operator
    inputs: Mapping[str, Array]
    outputs: Mapping[str, tuple[tuple[int, ...], Any]]
    values: Mapping[str, Any]
    refused: Mapping[str, tuple[float, ...]]
    maps: tuple[str, ...] = ("x", "y")
    types: tuple[tuple[int, int], ...] = ALL_TYPES
    prefix: str = ""
    more: tuple[Mapping[str, Any], ...] = field(default=())

    def typed(self, kind: int, form: int) -> dict[str, Any]:
        return {**self.values, f"{self.prefix}type": kind, f"{self.prefix}format": form}


TOO_LARGE = 65536
SIDE = (0, -1, TOO_LARGE)
SCALE = (0.0, -1.0, float("nan"))  # refused of int8 alone
SIDES = dict.fromkeys(("batch", "channels", "height", "width"), SIDE)
BASIS = {"kh": (0, -1, 33), "kw": (0, -1, 33)}
HWC_HALF = {"type": HALF, "format": HWC8}
ENOUGH = ((2 * 16 * 6 * 8,), np.float32)  # bytes for a map of any type and format


def calls() -> dict[str, Call]:
    tensors = tensors_of(Case(SHAPE, K))
    tokens = ((*SHAPE[:2], token_stride(*K)), np.float32)
    settings = {**settings_of(tensors, FLOAT, LINEAR), "y_scale": 1.0, "shift_gain": 1.0}
    wide_rows = {"batch": 16384, "width": 600, **HWC_HALF}  # more tiles than a grid has room for
    bases = {name: tensors[name] for name in ("basis_h", "basis_w")}
    x = np.zeros(ENOUGH[0], np.float32)
    op = {**settings, **attributes_of(tensors)}
    inner = {"query_channels": SIDE, "value_channels": SIDE, "recurrence": (0, -1), "mode": (2, -1)}
    weights = {name: value for name, value in tensors.items() if name != "x"}
    masked = mask.tensors_of(mask.Case(SHAPE, radius=1))
    logits = (2, 5, 3, 4)
    return {
        "truncated DCT": Call(
            DCT, {"x": x, **bases}, {"coefficients": tokens}, settings,
            {**SIDES, **BASIS, "batch": (0, -1, 16385), "x_scale": SCALE}, ("x",), more=(wide_rows,),
        ),
        "coefficient attention": Call(
            COEFFICIENT_ATTENTION, {"coefficients": np.zeros(*tokens), **_of_op(weights)}, {"change": tokens},
            _of_op(op), _of_op({**SIDES, **BASIS, **inner, "mode": (LINSOFTMAX, 2, -1)}), (),
            ((FLOAT, LINEAR),), "op.",
        ),
        "inverse DCT": Call(
            INVERSE_DCT, {"x": x, "change": np.zeros(*tokens), **bases, "shift": tensors["shift"]}, {"y": ENOUGH},
            settings, {**SIDES, **BASIS, "x_scale": SCALE, "y_scale": SCALE}, more=(wide_rows,),
        ),
        "attention": Call(
            ATTENTION, {**weights, "x": x}, {"y": ENOUGH}, op,
            {**SIDES, **BASIS, **inner, "x_scale": SCALE, "y_scale": SCALE},
            more=(wide_rows, {"mode": LINSOFTMAX, "recurrence": 17}),
        ),
        "spectral mask": Call(
            mask.OPERATOR, {**masked, "x": x}, {"y": ENOUGH}, mask.settings_of(masked, FLOAT, LINEAR),
            {**SIDES, "modes_h": (0, -1, 10), "modes_w": (0, -1, 17), "passes": (3, -1)}
            | {"x_scale": SCALE, "y_scale": SCALE},
            more=({"batch": 65535, "channels": 65535}, {**HWC_HALF, "width": 65535, "channels": 65535}),
        ),
        "upsample + argmax": Call(
            upsampling.OPERATOR, {"x": np.zeros((*logits[:1], 8, *logits[2:]), np.float32)},
            {"y": ((2, 6, 8), np.int32)}, upsampling.settings_of(logits, (6, 8), FLOAT, LINEAR, upsampling.INT32),
            dict.fromkeys(("batch", "low_height", "low_width", "height", "width"), SIDE)
            | {"classes": (0, -1, 256), "index_type": (3, -1), "type": (INT8,)},
            ("x",), ((FLOAT, LINEAR), (HALF, LINEAR), (HALF, HWC8)),
        ),
    }  # fmt: skip


def _of_op(values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"op.{name}": value for name, value in values.items()}


CALLS = calls()


def changes(call: Call) -> list[dict[str, Any]]:
    """Return every change of one field that the launcher must refuse, with what it takes for the change to count."""
    listed = [{name: value} for name, values in call.refused.items() for value in values]
    for change in listed:
        if next(iter(change)).endswith("_scale"):
            change[f"{call.prefix}type"] = INT8
    kind, form = f"{call.prefix}type", f"{call.prefix}format"
    listed += [{kind: 3}, {kind: -1}, {form: 2}, {form: -1}]
    listed += [{kind: other, form: HWC8} for other in (FLOAT, INT8)]
    return [*listed, *map(dict, call.more)]


@pytest.mark.parametrize(("name", "types"), [(name, types) for name, call in CALLS.items() for types in call.types])
def test_what_is_served_is_launched(emulate: Emulate, name: str, types: tuple[int, int]) -> None:
    call, operator = CALLS[name], emulate(CALLS[name].operator)
    assert operator.status(call.inputs, call.outputs, call.typed(*types)) == SUCCESS
    assert operator.launches > 0


@pytest.mark.parametrize("name", CALLS)
def test_parameters_that_a_launcher_cannot_serve_are_refused(emulate: Emulate, name: str) -> None:
    call, operator = CALLS[name], emulate(CALLS[name].operator)
    served = []
    for change in changes(call):
        status = operator.status(call.inputs, call.outputs, {**call.values, **change})
        if (status, operator.launches) != (INVALID_VALUE, 0):
            served.append((change, status, operator.launches))
    assert not served


@pytest.mark.parametrize("name", CALLS)
def test_a_pointer_that_is_null_or_misaligned_is_refused(emulate: Emulate, name: str) -> None:
    call, operator = CALLS[name], emulate(CALLS[name].operator)
    served = []
    for pointer in call.operator.pointers:
        inputs = {key: value for key, value in call.inputs.items() if key != pointer}
        outputs = {key: value for key, value in call.outputs.items() if key != pointer}
        if (operator.status(inputs, outputs, call.values), operator.launches) != (INVALID_VALUE, 0):
            served.append(f"no {pointer}")
    for pointer in call.maps:
        values = call.typed(HALF, HWC8)
        status = operator.status(call.inputs, call.outputs, values, offset=pointer)
        if (status, operator.launches) != (INVALID_VALUE, 0):
            served.append(f"{pointer} one byte off")
    assert not served


# Launches that need a workspace: all of the attention, a plane in parts, a plane beyond the shared memory.
SMALL = Device(shared_bytes=8 << 10)
WITH_WORKSPACE: list[tuple[str, dict[str, Any], Device | None]] = [
    ("truncated DCT", {"height": 2000}, None),
    ("coefficient attention", {}, None),
    ("attention", {}, None),
    ("attention", {"mode": LINSOFTMAX}, None),
    ("spectral mask", {"height": 600}, SMALL),
]


@pytest.mark.parametrize(("name", "change", "device"), WITH_WORKSPACE)
def test_a_workspace_that_is_missing_or_misaligned_is_refused(
    emulate: Emulate, name: str, change: dict[str, Any], device: Device | None
) -> None:
    call, operator = CALLS[name], emulate(CALLS[name].operator)
    values = {**call.values, **change}
    for broken in ({"workspace": False}, {"offset": "workspace"}):
        status = operator.status(call.inputs, call.outputs, values, device, **broken)  # type: ignore[arg-type]
        assert operator.workspace_bytes > 0 or broken == {"workspace": False}
        assert (status, operator.launches) == (INVALID_VALUE, 0)


MODES = {"modes_h": 9, "modes_w": 16}
SHARED_MEMORY: list[tuple[dict[str, Any], int, bool]] = [
    # Channels-last: 1,280 bytes for each mode, beside the bases.
    ({**HWC_HALF, **MODES}, 227 << 10, True),
    ({**HWC_HALF, **MODES}, 163 << 10, False),
    ({**HWC_HALF, "modes_h": 7, "modes_w": 8}, 64 << 10, False),
    ({**HWC_HALF, "modes_h": 5, "modes_w": 5}, 64 << 10, True),
    ({"type": HALF, **MODES}, 64 << 10, True),
    ({"modes_w": 16, "width": 1556}, 99 << 10, False),
    ({"modes_w": 16, "width": 1552}, 99 << 10, True),
    ({"modes_w": 16, "width": 1551}, 99 << 10, False),  # single elements: the kernel of all modes
    ({"modes_w": 16, "width": 1549}, 99 << 10, True),
    # A plane of 32 x 64 floats, with its bases and sums.
    ({"height": 32, "width": 64, "passes": mask.ONE}, 9_952, True),
    ({"height": 32, "width": 64, "passes": mask.ONE}, 9_951, False),
    ({"height": 32, "width": 64, "passes": mask.TWO}, 9_951, True),
]


@pytest.mark.parametrize(("change", "shared_bytes", "is_served"), SHARED_MEMORY)
def test_a_spectral_mask_that_says_it_is_served_is_launched(
    emulate: Emulate, change: dict[str, Any], shared_bytes: int, is_served: bool
) -> None:
    operator, device = emulate(mask.OPERATOR), Device(shared_bytes=shared_bytes)
    values = {**CALLS["spectral mask"].values, "batch": 1, "channels": 2, **change}
    size, modes = (values["height"], values["width"]), (values["modes_h"], values["modes_w"])
    tensors = mask.tensors_of(mask.Case((1, 2, *size), modes=modes))
    tensors["x"] = np.zeros(8 * size[0] * size[1], np.float32)
    assert operator.is_served(values, device) == is_served
    status = operator.status(tensors, {"y": (tensors["x"].shape, np.float32)}, values, device)
    assert (status, operator.launches > 0) == ((SUCCESS, True) if is_served else (INVALID_VALUE, False))


@pytest.mark.parametrize("change", changes(CALLS["spectral mask"]), ids=str)
def test_no_other_parameters_are_said_to_be_served(emulate: Emulate, change: dict[str, Any]) -> None:
    assert not emulate(mask.OPERATOR).is_served({**CALLS["spectral mask"].values, **change})
