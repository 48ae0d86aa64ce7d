"""`replace_nonlocal`: what it swaps, what it keeps, and what the model says of itself afterwards."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgefsa.errors import InputError
from edgefsa.models import FrequencySelfAttention, NonLocalAttention, count_macs, create_model, replace_nonlocal
from tests.reference.golden import relative_l2


def filled(model: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.is_floating_point():
                value.uniform_(0.5, 1.5) if "running_var" in name else value.normal_(0, 0.3)
    return model


class Shared(nn.Module):
    """One block twice, under two parents, and another one in a list beside plain layers."""

    def __init__(self) -> None:
        super().__init__()
        block = NonLocalAttention(8, mode="linsoftmax", recurrence=2)
        self.first = nn.Sequential(nn.Conv2d(8, 8, 1), block, nn.Tanh())
        self.again = block
        self.rest = nn.ModuleDict({"inner": nn.ModuleList([NonLocalAttention(8, form="mmseg", use_scale=True)])})

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rest["inner"][0](self.again(self.first(x)))  # type: ignore[index]
        return y


def test_nested_and_shared_blocks_keep_their_parameters_and_places() -> None:
    model = filled(Shared()).double().eval()
    model.rest.train()
    x = torch.randn(2, 8, 5, 6, dtype=torch.float64)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    tensors, modes = dict(model.named_parameters()), {name: part.training for name, part in model.named_modules()}
    expected = copy.deepcopy(model)(x).detach()
    assert replace_nonlocal(model, -1) is model
    assert not any(isinstance(part, NonLocalAttention) for part in model.modules())
    assert isinstance(model.again, FrequencySelfAttention) and model.first[1] is model.again
    assert [type(part) for part in model.first] == [nn.Conv2d, FrequencySelfAttention, nn.Tanh]
    assert (model.again.mode, model.again.recurrence, model.again.form) == ("linsoftmax", 2, "ccnet")
    inner = model.rest["inner"][0]
    assert (inner.form, inner.use_scale, inner.basis) == ("mmseg", True, "orthonormal")
    assert list(model.state_dict()) == list(state)
    assert all(value.dtype == state[name].dtype for name, value in model.state_dict().items())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(value is tensors[name] for name, value in model.named_parameters())
    assert {name: part.training for name, part in model.named_modules()} == modes
    # All coefficients: the same function, in the block that is in training too.
    assert relative_l2(model(x).detach(), expected) < 1e-11


@pytest.mark.parametrize("k", [3, (0, 3, 0, 3)])
def test_the_root_itself(k: Any) -> None:
    block = filled(NonLocalAttention(8)).eval().half().requires_grad_(False)
    layer = replace_nonlocal(block, k)
    assert isinstance(layer, FrequencySelfAttention) and layer.band == (0, 3, 0, 3)
    assert not layer.training and not any(value.requires_grad for value in layer.parameters())
    assert {value.dtype for value in layer.parameters()} == {torch.float16}
    reference = FrequencySelfAttention(8, k=3).eval().half()
    reference.load_state_dict(block.state_dict())
    x = torch.randn(1, 8, 9, 7)
    # Not to the bit: CPUs with float16 arithmetic multiply tensors with and without gradients by different kernels.
    assert relative_l2(layer(x), reference(x).detach()) < 1e-6


def test_an_optimiser_keeps_its_hold() -> None:
    model = filled(create_model("fsanet-edge", attention="nonlocal"))
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    before = model.attention.value_conv.weight.detach().clone()
    replace_nonlocal(model, 2)
    model(torch.randn(2, 3, 32, 40))[0].square().mean().backward()
    optimiser.step()
    assert not torch.equal(model.attention.value_conv.weight, before)


@pytest.mark.parametrize(("k", "recorded"), [(8, 8), ([0, 4, 0, 4], 4), ((1, 4, 0, -1), (1, 4, 0, -1))])
def test_a_replaced_network_is_a_native_one(k: Any, recorded: Any) -> None:
    options = {"num_classes": 5, "mode": "linsoftmax", "recurrence": 2, "basis": "official"}
    model = filled(create_model("fsanet-edge", attention="nonlocal", **options)).eval()
    kept = model.config
    replace_nonlocal(model, k)
    assert model.config.options == {**options, "attention": "frequency", "k": recorded, "basis": "orthonormal"}
    assert kept.options["attention"] == "nonlocal"
    native = create_model("fsanet-edge", **model.config.options).eval()
    assert native.config == model.config
    native.load_state_dict(model.state_dict())
    x = torch.randn(1, 3, 64, 88)
    with torch.no_grad():
        assert torch.equal(model(x), native(x))
    full = create_model("fsanet-edge", attention="nonlocal", **options)
    assert count_macs(model, (360, 480)) == count_macs(native, (360, 480)) < count_macs(full, (360, 480))


def test_a_network_inside_another_module_is_told_too() -> None:
    model = create_model("fsanet-edge", attention="nonlocal")
    beside = create_model("fsanet-edge", attention="none")
    replace_nonlocal(nn.ModuleList([model, beside]), 4)
    assert (model.config.options["attention"], model.config.options["k"]) == ("frequency", 4)
    assert beside.config.options["attention"] == "none"


def test_a_network_without_storage() -> None:
    with torch.device("meta"):
        model = create_model("fsanet-edge", attention="nonlocal")
    replace_nonlocal(model, 8)
    assert {value.device.type for value in model.parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("model", "k", "named"),
    [
        (nn.Sequential(nn.Conv2d(3, 3, 1)), 8, "Sequential holds no NonLocalAttention"),
        (FrequencySelfAttention(8), 8, "FrequencySelfAttention holds no NonLocalAttention"),
        (nn.Sequential(NonLocalAttention(8)), 0, "k=0"),
        (nn.Sequential(NonLocalAttention(8)), (0, 8), "k=(0, 8)"),
        (nn.Sequential(NonLocalAttention(8)), True, "k=True"),
        (nn.Sequential(NonLocalAttention(8), NonLocalAttention(8, form="mmseg", qkv_bias=True)), 8, "1 cannot be"),
        (NonLocalAttention(8, form="mmseg", qkv_bias=True), 8, "NonLocalAttention cannot be replaced"),
    ],
)
def test_what_cannot_be_replaced_stays_as_it_was(model: nn.Module, k: Any, named: str) -> None:
    before = list(model.modules())
    with pytest.raises(InputError) as caught:
        replace_nonlocal(model, k)
    assert named in str(caught.value) and "\n" not in str(caught.value)
    assert list(model.modules()) == before
