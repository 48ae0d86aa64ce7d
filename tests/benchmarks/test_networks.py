"""The reference network and the counts that the tables show."""

from __future__ import annotations

import pytest
import torch

from edgefsa.models import create_model


def conv(in_channels: int, out_channels: int, kernel: int, pixels: int) -> tuple[int, int]:
    """Parameters (batch norm's among them) and multiply-accumulates of a convolution."""
    weights = in_channels * out_channels * kernel**2
    return weights + 2 * out_channels, weights * pixels


def test_the_reference_is_the_standard_resnet18_at_stride_8(program) -> None:
    """Counted by hand from He et al. (2015), table 1, with strides 1 in the last two stages."""
    quarter, eighth = 90 * 120, 45 * 60
    layers = [conv(3, 64, 7, 180 * 240), *[conv(64, 64, 3, quarter)] * 4]
    for narrow, wide in ((64, 128), (128, 256), (256, 512)):
        layers += [conv(narrow, wide, 3, eighth), *[conv(wide, wide, 3, eighth)] * 3, conv(narrow, wide, 1, eighth)]
    params, macs = (sum(column) for column in zip(*layers, strict=True))
    network = program("reference").ResNet18Fcn()
    cost = program("_networks").cost_of(network, (360, 480))
    assert cost == {"params": params + 512 * 11 + 11, "macs": macs + 512 * 11 * eighth}
    assert network.eval()(torch.zeros(1, 3, 64, 96)).shape == (1, 11, 8, 12)


@pytest.mark.parametrize("name", ["fsanet-edge", "spanet-edge"])
def test_the_layers_of_a_model_add_up_to_it(program, name: str) -> None:
    networks = program("_networks")
    model = create_model(name)
    layers = networks.layers_of(model, (360, 480))
    cost = networks.cost_of(model, (360, 480))
    assert sum(layer["params"] for layer in layers) == cost["params"]
    assert sum(layer["macs"] for layer in layers) == cost["macs"]
    assert layers[0]["layer"] == "stem" and layers[-1]["output"][1:] == [90, 120]
    assert not any(layer["layer"].startswith("auxiliary") for layer in layers)
    assert next(model.parameters()).device.type == "cpu"


def test_the_reordered_block_is_the_non_local_one(program) -> None:
    from edgefsa.models.nonlocal_attention import NonLocalAttention

    torch.manual_seed(0)
    block = NonLocalAttention(16).double().eval()
    torch.nn.init.ones_(block.gamma)
    torch.nn.init.normal_(block.out_bias)
    x = torch.randn(2, 16, 5, 7, dtype=torch.float64)
    expected = block(x)
    assert (expected - x).abs().max() > 0.1
    torch.testing.assert_close(program("nonlocal_swap").reordered(block)(x), expected)
