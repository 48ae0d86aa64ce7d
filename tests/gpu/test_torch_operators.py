"""PyTorch's custom operators on a GPU: numbers, layouts, streams, and CUDA graphs of a whole network."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from edgefsa.errors import InputError
from edgefsa.kernels import spectral_mask, truncated_dct_attention, upsample_argmax, use_kernels
from edgefsa.models import FrequencySelfAttention, SpectralMask, create_model
from tests.gpu.launching import relative_l2

SHAPE = (2, 24, 33, 48)
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3}


def layer_of(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if name == "spectral mask":
        return SpectralMask(SHAPE[1]).eval()
    layer = FrequencySelfAttention(SHAPE[1], mode="linsoftmax" if name == "pixels" else "dot_product", form="mmseg")
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return layer.eval()


def called(name: str, x: Tensor) -> Tensor:
    operator: Any = layer_of(name).operator(*x.shape[2:])
    weights = {key: tensor.to(x.device) for key, tensor in operator.tensors.items()}
    function = spectral_mask if name == "spectral mask" else truncated_dct_attention
    return function(x, **weights, **operator.attributes)


@pytest.mark.parametrize("name", ["attention", "pixels", "spectral mask"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_an_operator_computes_the_layer(
    cuda: Any, name: str, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    x = torch.randn(SHAPE, device="cuda").to(dtype).to(memory_format=memory_format)
    y = called(name, x)
    assert (y.dtype, y.stride()) == (dtype, x.stride())
    with torch.inference_mode():
        wanted = layer_of(name).double().cuda()(x.double())
    assert relative_l2(y, wanted) < TOLERANCE[dtype]


@pytest.mark.parametrize("name", ["attention", "spectral mask"])
def test_an_operator_follows_the_current_stream(cuda: Any, name: str) -> None:
    x = torch.zeros(SHAPE, device="cuda")
    called(name, x)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)
        x.normal_()
        y = called(name, x)
    stream.synchronize()
    assert relative_l2(y, called(name, x).double()) < 1e-6


def test_pytorch_accepts_the_operators_there(cuda: Any) -> None:
    weights = [tensor.cuda() for tensor in SpectralMask(SHAPE[1]).operator(*SHAPE[2:]).tensors.values()]
    x = torch.randn(SHAPE, device="cuda").half()
    torch.library.opcheck(torch.ops.edgefsa.spectral_mask.default, (x, *weights))
    torch.library.opcheck(torch.ops.edgefsa.upsample_argmax.default, (x, 132, 192, torch.uint8))


def test_tensors_of_two_devices_are_refused(cuda: Any) -> None:
    weights = SpectralMask(SHAPE[1]).operator(*SHAPE[2:]).tensors
    with pytest.raises((InputError, RuntimeError)):
        spectral_mask(torch.randn(SHAPE, device="cuda"), **weights)


@pytest.mark.graph
@pytest.mark.parametrize("name", ["fsanet-edge", "spanet-edge"])
def test_a_cuda_graph_holds_a_whole_network(cuda: Any, name: str) -> None:
    size = (128, 256)
    torch.manual_seed(0)
    network = create_model(name).eval().cuda()
    for parameter in network.parameters():
        if parameter.dim() == 1 and not parameter.any():  # gains of the frequency blocks start at 0
            torch.nn.init.normal_(parameter)
    kernels = use_kernels(copy.deepcopy(network).half(), size)
    image = torch.randn(1, 3, *size, device="cuda")
    half = image.half()
    with torch.inference_mode():
        for _ in range(2):
            upsample_argmax(kernels(half), *size)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = kernels(half)
            indices = upsample_argmax(logits, *size)
        graph.replay()
        torch.cuda.synchronize()
        assert relative_l2(logits, network(image).double()) < 2e-2
        large = torch.nn.functional.interpolate(logits.float(), size, mode="bilinear")
        assert float((indices == large.argmax(1)).float().mean()) > 0.999
