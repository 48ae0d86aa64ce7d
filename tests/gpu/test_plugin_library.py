"""The plugin library on a GPU without TensorRT: a driver plays its part, from the creators to enqueue.

EDGEFSA_PLUGIN_DRIVER names the driver that `make gpu-files` builds, EDGEFSA_PLUGIN_LIBRARY the plugin library. Of an
emulation (EDGEFSA_EMULATED_KERNELS) both are the one library that `build_harness` builds.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch

from tests.gpu.conftest import missing
from tests.gpu.launching import TOLERANCE, assert_rounded, laid_out, plain, relative_l2, unwritten_like
from tests.unit.engines.tensorrt.plugins.harness.cases import Case, attention_case, mask_case, upsample_case
from tests.unit.engines.tensorrt.plugins.harness.harness import FLOAT as TRT_FLOAT
from tests.unit.engines.tensorrt.plugins.harness.harness import HALF as TRT_HALF
from tests.unit.engines.tensorrt.plugins.harness.harness import HWC8 as TRT_HWC8
from tests.unit.engines.tensorrt.plugins.harness.harness import INT8 as TRT_INT8
from tests.unit.engines.tensorrt.plugins.harness.harness import INT32 as TRT_INT32
from tests.unit.engines.tensorrt.plugins.harness.harness import LINEAR as TRT_LINEAR
from tests.unit.engines.tensorrt.plugins.harness.harness import Driver, Plugin, Tensor

DRIVER, LIBRARY = "EDGEFSA_PLUGIN_DRIVER", "EDGEFSA_PLUGIN_LIBRARY"
TYPES = {TRT_FLOAT: torch.float32, TRT_HALF: torch.float16, TRT_INT8: torch.int8}
KINDS = [(TRT_FLOAT, TRT_LINEAR), (TRT_HALF, TRT_LINEAR), (TRT_HALF, TRT_HWC8)]
SHAPE = (3, 24, 33, 48)
CASES: dict[str, Callable[[], Case]] = {
    "attention": lambda: attention_case(SHAPE, recurrence=2),
    "attention of pixels": lambda: attention_case(SHAPE, "mmseg", "linsoftmax"),
    "spectral mask": lambda: mask_case(SHAPE),
    "upsampling": lambda: upsample_case(SHAPE, (132, 192)),
    "upsampling to halves": lambda: upsample_case(SHAPE, (132, 192), half_indices=1),
}
INDICES = {TRT_INT32: torch.int32, TRT_HALF: torch.float16}


@pytest.fixture(scope="module")
def driver(device: str) -> Driver:
    for variable in (DRIVER, LIBRARY):
        if variable not in os.environ:
            missing(f"needs {variable}; `make gpu-files` builds what it names")
    # What the driver calls, it finds in the library that is loaded before it.
    ctypes.CDLL(os.environ[LIBRARY], mode=ctypes.RTLD_GLOBAL)
    return Driver(ctypes.CDLL(os.environ[DRIVER]))


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


@pytest.fixture
def plugins(driver: Driver) -> Iterator[Callable[..., Plugin]]:
    """Make plugins as an engine holds them: created, serialised, created again, attached to a context."""
    made: list[Plugin] = []

    def make(case: Case, **scales: float) -> Plugin:
        plugin = driver.create(case.name, {**case.attributes, **scales})
        assert plugin is not None, driver.log()
        made.extend((plugin, plugin.round_trip()))
        made.append(made[-1].attach())
        return made[-1]

    yield make
    for plugin in made:
        plugin.destroy()
    assert driver.log() == ""


class Call:
    """One plugin with its tensors on the GPU."""

    def __init__(self, plugin: Plugin, case: Case, x: torch.Tensor, kind: int, form: int) -> None:
        self.layout = int(form == TRT_HWC8)
        self.x = laid_out(x, self.layout)
        self.tensors = case.tensors(Tensor(tuple(x.shape), kind, form, largest=SHAPE))
        position = len(self.tensors) - 1
        self.tensors[-1] = replace(self.tensors[-1], largest=(SHAPE[0], *self.tensors[-1].dims[1:]))
        assert plugin.supports(0, self.tensors) and plugin.supports(position, self.tensors)
        assert plugin.configure(self.tensors) == 0 and plugin.shape_change(self.tensors) == 0
        self.plugin, self.weights = plugin, [weight.to(x.device).contiguous() for weight in case.weights.values()]
        if case.name == "UpsampleArgmax":
            self.y = torch.full(self.tensors[-1].dims, 255, dtype=INDICES[self.tensors[-1].type], device=x.device)
        else:
            self.y = unwritten_like(self.x)
        size = plugin.workspace_bytes(self.tensors)
        self.workspace = torch.full((max(size, 1),), 255, dtype=torch.uint8, device=x.device)

    def enqueue(self) -> None:
        addresses = [tensor.data_ptr() for tensor in (self.x, *self.weights)]
        stream = torch.cuda.current_stream().cuda_stream if self.x.is_cuda else 0
        places = (self.y.data_ptr(), self.workspace.data_ptr())
        assert self.plugin.enqueue_at(self.tensors, addresses, *places, stream) == 0

    def result(self) -> torch.Tensor:
        if self.y.is_cuda:
            torch.cuda.synchronize()
        return self.y if self.y.dim() == 3 else plain(self.y, SHAPE[1], self.layout)


def assert_right(case: Case, y: torch.Tensor, x: torch.Tensor, kind: int) -> None:
    wanted = formula(case, x)
    if case.name == "UpsampleArgmax":
        assert float((y == wanted).double().mean()) > 0.999
    else:
        assert relative_l2(y, wanted) < TOLERANCE[kind]


def formula(case: Case, x: torch.Tensor) -> torch.Tensor:
    """Compute in float64, on the CPU, where the case has its weights."""
    return case.formula(x.double().cpu()).to(x.device)


@pytest.mark.parametrize(("kind", "form"), KINDS)
def test_a_plugin_computes_the_formula(
    device: str, plugins: Callable[..., Plugin], case: Case, kind: int, form: int
) -> None:
    torch.manual_seed(0)
    x = torch.randn(SHAPE, device=device).to(TYPES[kind])
    call = Call(plugins(case), case, x, kind, form)
    for tactic in call.plugin.tactics() or [None]:
        if tactic is not None:
            assert call.plugin.set_tactic(tactic) == 0
        call.enqueue()
        assert_right(case, call.result(), x, kind)


@pytest.mark.graph
@pytest.mark.parametrize(("kind", "form"), KINDS)
def test_a_cuda_graph_repeats_a_plugin(
    device: str, plugins: Callable[..., Plugin], case: Case, kind: int, form: int
) -> None:
    torch.manual_seed(0)
    x = torch.randn(SHAPE, device=device).to(TYPES[kind])
    call, graph = Call(plugins(case), case, x, kind, form), torch.cuda.CUDAGraph()
    call.enqueue()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        call.enqueue()
    call.x.copy_(laid_out(2 * x, call.layout))
    call.y.fill_(255 if call.y.dtype == torch.int32 else float("nan"))
    graph.replay()
    assert_right(case, call.result(), 2 * x, kind)


@pytest.mark.parametrize("name", ["attention", "attention of pixels", "spectral mask"])
def test_a_plugin_rounds_bytes(device: str, plugins: Callable[..., Plugin], name: str) -> None:
    torch.manual_seed(0)
    case, x_scale = CASES[name](), 0.02
    x = torch.randint(-128, 128, SHAPE, device=device, dtype=torch.int8)
    wanted = formula(case, x_scale * x.double())
    y_scale = float(wanted.abs().max()) / 150
    call = Call(plugins(case, x_scale=x_scale, y_scale=y_scale), case, x, TRT_INT8, TRT_LINEAR)
    call.enqueue()
    assert_rounded(call.result(), wanted, y_scale)


def test_an_empty_batch_is_served(device: str, plugins: Callable[..., Plugin], case: Case) -> None:
    x = torch.empty(0, *SHAPE[1:], device=device)
    call = Call(plugins(case), case, x, TRT_FLOAT, TRT_LINEAR)
    call.enqueue()
    assert not call.result().numel()
