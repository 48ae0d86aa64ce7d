"""The custom operators' side for GPUs, on the emulated kernels: which layout they choose, and what they hand over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edgefsa.errors import InputError
from edgefsa.kernels import launchers as launchers_module
from edgefsa.kernels import operators
from edgefsa.kernels.launchers import HWC8, LINEAR, Kernels
from edgefsa.models import FrequencySelfAttention, SpectralMask

SHAPE = (2, 16, 6, 12)


class Recording(Kernels):
    """Keeps what was launched."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.params_of: dict[str, Any] = {}

    def launch(self, name: str, params: Any, workspace: int = 0, stream: int = 0) -> None:
        self.params_of[name] = params
        super().launch(name, params, workspace, stream)


@pytest.fixture
def kernels(launchers: Path, monkeypatch: pytest.MonkeyPatch) -> Recording:
    recording = Recording(launchers)

    @contextmanager
    def this_cpu(device: torch.device) -> Iterator[tuple[Kernels, int]]:
        yield recording, 0

    monkeypatch.setattr(operators, "_device", this_cpu)
    return recording


def layer_arguments(layer: Any, shape: tuple[int, ...] = SHAPE) -> tuple[Any, ...]:
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    operator = layer.operator(*shape[2:])
    return (*operator.tensors.values(), *operator.attributes.values())


def relative_l2(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


CHANNELS_LAST = {"memory_format": torch.channels_last}
MAPS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "contiguous floats": (lambda x: x, LINEAR),
    "contiguous halves": (lambda x: x.half(), LINEAR),
    "channels-last halves": (lambda x: x.half().to(**CHANNELS_LAST), HWC8),
    "channels-last floats": (lambda x: x.to(**CHANNELS_LAST), LINEAR),
    "a slice": (lambda x: torch.cat([x, x], 3).half()[..., 3 : 3 + SHAPE[3]], LINEAR),
    "halves off by one": (lambda x: torch.cat([torch.zeros(1), x.flatten()]).half()[1:].view(SHAPE), LINEAR),
}


@pytest.mark.parametrize("kind", MAPS)
def test_a_map_goes_to_the_kernel_as_it_lies_in_memory(kernels: Recording, kind: str) -> None:
    made, form = MAPS[kind]
    torch.manual_seed(0)
    x = made(torch.randn(SHAPE))
    arguments = layer_arguments(SpectralMask(SHAPE[1]))
    y = operators._mask_on_cuda(x, *arguments)
    assert kernels.params_of["SpectralMask"].format == form
    assert (y.dtype, y.stride()) == (x.dtype, operators._like(x).stride())
    assert relative_l2(y, operators._mask_on_cpu(x.float(), *arguments)) < (1e-5 if x.dtype == torch.float32 else 2e-3)


@pytest.mark.parametrize(("mode", "recurrence"), [("dot_product", 2), ("linsoftmax", 1)])
@pytest.mark.parametrize("kind", ["contiguous floats", "channels-last halves"])
def test_the_attention_gets_every_tensor_and_attribute(
    kernels: Recording, kind: str, mode: str, recurrence: int
) -> None:
    torch.manual_seed(0)
    layer = FrequencySelfAttention(SHAPE[1], k=(0, 3, 0, 5), mode=mode, recurrence=recurrence, form="mmseg").eval()  # type: ignore[arg-type]
    arguments, x = layer_arguments(layer), MAPS[kind][0](torch.randn(SHAPE))
    y = operators._attention_on_cuda(x, *arguments)
    assert relative_l2(y, operators._attention_on_cpu(x.float(), *arguments)) < (1e-5 if "floats" in kind else 2e-3)


def test_an_attention_without_an_output_matrix_has_it_in_its_values(kernels: Recording) -> None:
    torch.manual_seed(0)
    layer, x = FrequencySelfAttention(SHAPE[1], k=(0, 3, 0, 5), form="mmseg").eval(), torch.randn(SHAPE)
    arguments = list(layer_arguments(layer))
    wanted = operators._attention_on_cpu(x, *arguments)
    arguments[6:9] = [arguments[8] @ arguments[6], arguments[8] @ arguments[7], None]
    for run in (operators._attention_on_cpu, operators._attention_on_cuda):
        assert relative_l2(run(x, *arguments), wanted) < 1e-5
    assert kernels.params_of["TruncatedDctAttention"].out_weight is None


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32], ids=str)
@pytest.mark.parametrize("kind", ["contiguous floats", "channels-last halves"])
def test_classes_come_in_either_type(kernels: Recording, kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits = MAPS[kind][0](torch.randn(SHAPE))
    y = operators._indices_on_cuda(logits, 24, 40, dtype)
    assert y.dtype == dtype
    assert float((y == operators._indices_on_cpu(logits, 24, 40, dtype)).float().mean()) > 0.999


def test_an_empty_batch_launches_nothing(kernels: Recording) -> None:
    y = operators._mask_on_cuda(torch.empty(0, *SHAPE[1:]), *layer_arguments(SpectralMask(SHAPE[1])))
    assert y.shape == (0, *SHAPE[1:]) and not kernels.params_of


def test_what_a_kernel_does_not_serve_is_said_with_its_sizes(kernels: Recording) -> None:
    shape = (1, 4, 40, 40)
    arguments = layer_arguments(FrequencySelfAttention(4, k=33).eval(), shape)
    with pytest.raises(InputError, match=r"TruncatedDctAttention does not serve.*'kh': 33"):
        operators._attention_on_cuda(torch.randn(shape), *arguments)


def test_a_library_of_other_sources_is_refused(launchers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = launchers_module.structures()
    other = {**known, "SpectralMaskParams": known["UpsampleArgmaxParams"]}
    monkeypatch.setattr(launchers_module, "structures", lambda: other)
    with pytest.raises(launchers_module.PluginError, match="built from other sources: SpectralMaskParams has"):
        Kernels(launchers).params("SpectralMask")
