"""The custom operators on a CPU: numbers, what PyTorch asks of an operator, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from edgefsa.errors import InputError
from edgefsa.kernels import spectral_mask, truncated_dct_attention, upsample_argmax
from edgefsa.models import FrequencySelfAttention, SpectralMask

SHAPE = (2, 16, 12, 20)


def attention(mode: str = "dot_product", recurrence: int = 1) -> FrequencySelfAttention:
    torch.manual_seed(0)
    layer = FrequencySelfAttention(SHAPE[1], k=(0, 3, 0, 5), mode=mode, recurrence=recurrence, form="mmseg").eval()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return layer


def arguments_of(layer: FrequencySelfAttention | SpectralMask) -> tuple[Any, ...]:
    operator = layer.operator(*SHAPE[2:])
    return (*operator.tensors.values(), *operator.attributes.values())


def map_of(dtype: torch.dtype, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(SHAPE).to(dtype).to(memory_format=memory_format)


OPERATORS: dict[str, tuple[Callable[..., Tensor], torch.nn.Module, tuple[Any, ...]]] = {
    "truncated_dct_attention": (truncated_dct_attention, (layer := attention(recurrence=2)), arguments_of(layer)),
    "linsoftmax": (truncated_dct_attention, (layer := attention("linsoftmax")), arguments_of(layer)),
    "spectral_mask": (spectral_mask, (mask := SpectralMask(SHAPE[1])), arguments_of(mask)),
}
FORMATS = (torch.contiguous_format, torch.channels_last)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float16, 2e-3)], ids=str)
@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_a_map_becomes_what_the_layer_makes_of_it(
    name: str, dtype: torch.dtype, tolerance: float, memory_format: torch.memory_format
) -> None:
    function, layer, arguments = OPERATORS[name]
    x = map_of(dtype, memory_format)
    y = function(x, *arguments)
    assert (y.dtype, y.stride()) == (dtype, x.stride())
    with torch.no_grad():
        wanted = layer.double()(x.double())
    assert float((y.double() - wanted).norm() / wanted.norm()) < tolerance


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32], ids=str)
def test_the_classes_are_those_of_interpolate_and_argmax(dtype: torch.dtype) -> None:
    logits = map_of(torch.float16)
    y = upsample_argmax(logits, 48, 70, dtype)
    large = torch.nn.functional.interpolate(logits.double(), (48, 70), mode="bilinear")
    assert (y.dtype, tuple(y.shape)) == (dtype, (2, 48, 70))
    assert float((y == large.argmax(1)).float().mean()) > 0.999


CHECKED = {
    "truncated_dct_attention": (map_of(torch.float16, torch.channels_last), *OPERATORS["truncated_dct_attention"][2]),
    "spectral_mask": (map_of(torch.float16), *OPERATORS["spectral_mask"][2]),
    "upsample_argmax": (map_of(torch.float32), 24, 33, torch.uint8),
}


@pytest.mark.parametrize("name", CHECKED)
def test_pytorch_accepts_an_operator(name: str) -> None:
    torch.library.opcheck(getattr(torch.ops.edgefsa, name).default, CHECKED[name])


class Head(torch.nn.Module):
    """All three operators in a row."""

    def forward(self, x: Tensor) -> Tensor:
        x = truncated_dct_attention(x, *OPERATORS["truncated_dct_attention"][2])
        x = spectral_mask(x * 2, *OPERATORS["spectral_mask"][2])
        return upsample_argmax(x, 4 * x.shape[2], 4 * x.shape[3])


def test_a_graph_of_them_is_compiled_whole() -> None:
    x = map_of(torch.float32)
    compiled = torch.compile(Head(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), Head()(x))


def test_a_graph_of_them_is_exported_with_a_batch_of_any_size() -> None:
    x = map_of(torch.float32)
    program = torch.export.export(Head(), (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=8)},))
    called = [str(node.target) for node in program.graph.nodes if "edgefsa" in str(node.target)]
    assert called == [
        f"edgefsa.{name}.default" for name in ("truncated_dct_attention", "spectral_mask", "upsample_argmax")
    ]
    torch.testing.assert_close(program.module()(x[:1]), Head()(x[:1]))


def test_a_backward_pass_is_refused() -> None:
    y = spectral_mask(map_of(torch.float32).requires_grad_(), *OPERATORS["spectral_mask"][2])
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        y.sum().backward()


def changed(name: str, index: int, value: Any) -> Callable[[], Tensor]:
    function, _, arguments = OPERATORS[name]
    given = [map_of(torch.float32), *arguments]
    given[index] = value(given[index]) if callable(value) else value
    return lambda: function(*given)


REFUSED = {
    "x is torch.float64; SpectralMask takes": changed("spectral_mask", 0, Tensor.double),
    "x is torch.bfloat16; TruncatedDctAttention takes": changed("truncated_dct_attention", 0, Tensor.bfloat16),
    "gain is torch.float16, and SpectralMask takes it as float32": changed("spectral_mask", 1, Tensor.half),
    "gain is on meta, and x on cpu": changed("spectral_mask", 1, lambda gain: gain.to("meta")),
    "x has the shape [16, 12, 20], and it has to be [N C H W]": changed("spectral_mask", 0, lambda x: x[0]),
    "gain has the shape [15], and it has to be [C] with C = 16": changed("spectral_mask", 1, lambda gain: gain[1:]),
    "coupling_base has the shape [25, 24], and it has to be [M M] with M = 25": changed(
        "spectral_mask", 5, lambda coupling: coupling[:, 1:]
    ),
    "mode is 'softmax'; it can be dot_product or linsoftmax": changed("linsoftmax", 11, "softmax"),
    "there are as many values as channels: 16, not 8": changed("linsoftmax", 9, None),
    "recurrence is 0; give 1 or more": changed("linsoftmax", 12, 0),
    "the mask's size is 0 x 4": lambda: upsample_argmax(map_of(torch.float32), 0, 4),
    "the mask's dtype is torch.int64": lambda: upsample_argmax(map_of(torch.float32), 4, 4, torch.int64),
    "logits have 256 classes": lambda: upsample_argmax(torch.zeros(1, 256, 2, 2), 4, 4),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_refused_by_name(message: str) -> None:
    with pytest.raises(InputError) as refused:
        REFUSED[message]()
    assert message in str(refused.value)
