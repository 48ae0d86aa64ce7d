"""Networks with custom operators in place of their frequency layers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from edgefsa.errors import InputError
from edgefsa.kernels import use_kernels
from edgefsa.kernels.modules import KernelLayer
from edgefsa.models import FrequencySelfAttention, SpectralMask, create_model
from edgefsa.models.frequency import FrequencyLayer

SIZE = (32, 64)


@pytest.mark.parametrize("name", ["fsanet-edge", "spanet-edge"])
def test_a_network_computes_the_same(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1 and not parameter.any():  # gains of the frequency blocks start at 0
            torch.nn.init.normal_(parameter)
    image = torch.randn(2, 3, *SIZE)
    with torch.inference_mode():
        wanted = model(image)
    names = [name for name, part in model.named_modules() if isinstance(part, FrequencyLayer)]
    assert use_kernels(model, SIZE) is model
    assert [name for name, part in model.named_modules() if isinstance(part, KernelLayer)] == names != []
    with torch.inference_mode():
        torch.testing.assert_close(model(image), wanted, rtol=1e-4, atol=1e-4)


def test_one_layer_alone_is_exchanged_for_its_operator() -> None:
    layer, x = SpectralMask(6).eval(), torch.randn(1, 6, 8, 10)
    torch.testing.assert_close(use_kernels(layer, (8, 10))(x), layer(x))


def test_weights_stay_in_float32_in_a_network_of_halves() -> None:
    layer = FrequencySelfAttention(8, k=2).half().eval()
    operator = use_kernels(torch.nn.Sequential(layer, torch.nn.Conv2d(8, 3, 1).half()).eval()[0], (8, 10))
    assert {buffer.dtype for buffer in operator.buffers()} == {torch.float32}
    assert operator(torch.randn(1, 8, 8, 10).half()).dtype == torch.float16


def test_what_has_no_use_for_kernels_is_refused() -> None:
    with pytest.raises(InputError, match="is in training"):
        use_kernels(create_model("fsanet-edge"), SIZE)
    with pytest.raises(InputError, match="holds no FrequencySelfAttention"):
        use_kernels(create_model("fsanet-edge", attention="none").eval(), SIZE)


def test_the_example_of_the_docs_runs() -> None:
    page = (Path(__file__).parents[3] / "docs" / "kernels.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    variables: dict[str, torch.Tensor] = {}
    exec(code.replace("512, 1024", "32, 64"), variables)
    assert (variables["mask"].dtype, variables["mask"].shape) == (torch.uint8, (1, 32, 64))
