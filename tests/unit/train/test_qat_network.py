"""The network that is trained computes what ONNX Runtime makes of its INT8 graph, and gives its weights back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from edgefsa.errors import InputError
from edgefsa.export import load_graph, onnx_from_model
from edgefsa.export.check import module_logits, relative_l2
from edgefsa.graph.files import weights_hash
from edgefsa.models import create_model
from edgefsa.quantize import int8_onnx
from edgefsa.quantize.placement import place
from edgefsa.quantize.qdq import int8_weight
from edgefsa.train.qat_network import QuantisedNetwork
from tests.unit import small_transformer
from tests.unit.small_transformer import SmallTransformer

from .qat_small import SIZE_HW, Exported, SmallNet, exported, run, seasoned

# Where no value lies on the edge between two steps, both sides differ by the order of float32 sums alone; a value
# that does falls to either side, and moves later ones with it, by as much as the rounding itself at most.
SAME, ROUNDING = 1e-5, 0.05


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Exported:
    torch.manual_seed(0)
    return exported(seasoned(SmallNet()), SIZE_HW, tmp_path_factory.mktemp("small"))


def logits_of(network: nn.Module, frames: list[np.ndarray]) -> list[np.ndarray]:
    return [module_logits(network, frame, network.config.mean_rgb, network.config.std_rgb) for frame in frames]


def errors_of(given: list[np.ndarray], wanted: list[np.ndarray]) -> np.ndarray:
    return np.array([relative_l2(a, b) for a, b in zip(given, wanted, strict=True)])


def test_a_small_network_repeats_its_int8_graph(small):
    network, int8 = QuantisedNetwork(small.model, small.graph, small.ranges), small.int8_logits()
    errors = errors_of(logits_of(network, small.frames), int8)
    assert np.median(errors) < SAME and errors.max() < ROUNDING
    assert errors_of(logits_of(small.model, small.frames), int8).min() > 100 * SAME


@pytest.mark.parametrize("skip", [("block*",), ("stem.0/Conv", "Concat", "head/Conv"), ("block/Add",)])
def test_what_is_skipped_stays_in_float(small, skip):
    network = QuantisedNetwork(small.model, small.graph, small.ranges, skip=skip)
    errors = errors_of(logits_of(network, small.frames), small.int8_logits(skip))
    assert np.median(errors) < SAME and errors.max() < ROUNDING
    assert errors_of(logits_of(network, small.frames), small.int8_logits()).min() > 100 * SAME
    assert set(network.amax()) == set(place(small.graph, skip).tensors)


@pytest.mark.parametrize("name", ["fsanet-edge", "spanet-edge"])
def test_the_edge_models_repeat_their_int8_graphs(name, tmp_path):
    torch.manual_seed(0)
    case = exported(seasoned(create_model(name)), (32, 48), tmp_path)
    network = QuantisedNetwork(case.model, case.graph, case.ranges)
    given, wanted = logits_of(network, case.frames), case.int8_logits()
    errors = errors_of(given, wanted)
    assert errors.min() < SAME and errors.max() < ROUNDING
    agreement = np.mean([(a.argmax(1) == b.argmax(1)).mean() for a, b in zip(given, wanted, strict=True)])
    assert agreement > 0.99
    _check_way_back(network, case, create_model(name), tmp_path)


@pytest.fixture(scope="module")
def transformer(tmp_path_factory) -> Exported:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("transformer")
    return exported(seasoned(SmallTransformer()), small_transformer.SIZE_HW, folder)


def test_a_transformer_repeats_its_int8_graph(transformer, tmp_path):
    network = QuantisedNetwork(transformer.model, transformer.graph, transformer.ranges)
    int8 = transformer.int8_logits()
    errors = errors_of(logits_of(network, transformer.frames), int8)
    assert np.median(errors) < SAME and errors.max() < ROUNDING
    assert errors_of(logits_of(transformer.model, transformer.frames), int8).min() > 100 * SAME
    assert network.amax().keys() == set(place(transformer.graph).tensors)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for parameter in network.network.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    _check_way_back(network, transformer, SmallTransformer(), tmp_path)


def test_every_product_of_a_transformer_rounds_its_weight_along_its_outputs(transformer):
    network = QuantisedNetwork(transformer.model, transformer.graph, transformer.ranges)
    before, after = network.network.state_dict(), network.model_state()
    linear = {f"{name}.weight" for name, module in transformer.model.named_modules() if isinstance(module, nn.Linear)}
    assert len(linear) == 12
    for name in {"mix"} | linear:
        values, scale = int8_weight(before[name].numpy(), 1 if name == "mix" else 0)
        wanted = values * (scale if name == "mix" else scale[:, None])
        np.testing.assert_allclose(after[name].numpy(), wanted, rtol=1e-6)
    assert torch.equal(after["among"], before["among"])  # a left factor stays in float


def test_skipped_products_stay_in_float(transformer):
    skip = ("blocks.0*", "gate/Gemm", "MatMul_1")
    network = QuantisedNetwork(transformer.model, transformer.graph, transformer.ranges, skip=skip)
    errors = errors_of(logits_of(network, transformer.frames), transformer.int8_logits(skip))
    assert np.median(errors) < SAME and errors.max() < ROUNDING


def test_weights_come_back_as_the_same_int8_values(small, tmp_path):
    network = QuantisedNetwork(small.model, small.graph, small.ranges)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.network.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
        network.range_logs += 0.01
    _check_way_back(network, small, SmallNet(), tmp_path)


def _check_way_back(network: QuantisedNetwork, case: Exported, fresh: nn.Module, folder: Path) -> None:
    """Float16 weights, exported and quantised with the network's ranges, compute what the network does."""
    state = network.model_state()
    assert state.keys() == case.model.state_dict().keys()
    fresh.load_state_dict({name: value.half() for name, value in state.items()})
    onnx_from_model(fresh.eval(), folder / "again.onnx", size_hw=case.frames[0].shape[1:3], outputs="logits")
    graph = load_graph(folder / "again.onnx")
    tensors = {name: {"amax": amax} for name, amax in network.amax().items()}
    ranges = dataclasses.replace(case.ranges, tensors=tensors, model_sha256=weights_hash(graph))
    int8 = int8_onnx(graph, ranges)[0]
    stored = {item.name: numpy_helper.to_array(item) for item in int8.graph.initializer}
    weights = [(name, item.detach().numpy()) for name, item in network.network.named_parameters() if item.ndim == 4]
    found = [(name, stored[f"{name}.int8"], value) for name, value in weights if f"{name}.int8" in stored]
    assert len(found) > len(weights) / 2
    for name, values, weight in found:
        is_first = name in ("stem.0.weight", "patches.weight")
        wanted = int8_weight(weight[:, ::-1] if is_first else weight, 0)[0]
        assert (values != wanted).mean() < 1e-3 and np.abs(values - wanted.astype(int)).max() <= 1, name
    errors = errors_of(logits_of(network, case.frames), run(int8, case.frames))
    assert errors.max() < ROUNDING


def test_training_mode_gives_the_same_logits_and_moves_no_statistics(small):
    network = QuantisedNetwork(small.model, small.graph, small.ranges)
    image = torch.randn(2, 3, *SIZE_HW) * 50
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        wanted = network.eval()(image)
        assert wanted.dtype == torch.float32
        assert torch.equal(network.train()(image), wanted)
    network(image).square().sum().backward()
    assert all(
        (parameter.grad is not None and parameter.grad.abs().sum() > 0) == parameter.requires_grad
        for name, parameter in network.named_parameters()
        if name != "network.attention.gamma"
    )
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    assert frozen == ["network.auxiliary_head.weight", "network.auxiliary_head.bias"]


class OtherNet(SmallNet):
    """One with a norm that is no batch norm, or an operation that its graph does not follow."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        if kind == "group norm":
            self.norm = nn.GroupNorm(1, 12)
            nn.init.uniform_(self.norm.weight, 0.5, 1.5)
        elif kind == "attention":
            self.project = nn.Sequential(nn.Flatten(2), Columns(12), nn.Unflatten(2, (8, 12)))


class Columns(nn.Module):
    """A module of torch's own, which calls its products where no one sees them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x.mT, x.mT, x.mT)[0].mT


@pytest.mark.parametrize(
    ("kind", "message"),
    [("group norm", "only batch norms"), ("attention", "needs a network whose graph follows its forward pass")],
)
def test_networks_that_cannot_be_followed_are_refused(kind, message, tmp_path):
    case = exported(seasoned(OtherNet(kind)), SIZE_HW, tmp_path, frames=1)
    with pytest.raises(InputError, match=message):
        QuantisedNetwork(case.model, case.graph, case.ranges)


def test_a_graph_of_another_network_is_refused(small):
    class Extended(SmallNet):
        def forward(self, x):
            return super().forward(x) + 0 * super().forward(x)

    model = Extended()
    model.load_state_dict(small.model.state_dict())
    with pytest.raises(InputError, match=r"calls Conv of stem\.0\.weight where its graph has no node"):
        QuantisedNetwork(model.eval(), small.graph, small.ranges)
