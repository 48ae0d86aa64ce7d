"""The plugins inside engines of full TensorRT: from the library, and as kernels in the engine itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefsa.engines.tensorrt.plugins.nodes import plugin_graph
from edgefsa.errors import EdgeFsaError
from tests.gpu.conftest import REQUIRE_TENSORRT, missing

SHAPE = (2, 24, 32, 48)
TOLERANCE = 2e-3


@pytest.fixture(scope="module")
def with_library(tensorrt: Any, capability: str) -> Any:
    """TensorRT with the plugin library loaded, built if need be."""
    from edgefsa.engines.tensorrt.plugins.build import build_library
    from edgefsa.engines.tensorrt.plugins.library import find_library, load_library

    try:
        library = find_library(tensorrt.__version__, capability)
    except EdgeFsaError:
        try:
            library = build_library(tensorrt.__version__, capability)
        except EdgeFsaError as error:
            missing(f"needs the plugin library: {error}", REQUIRE_TENSORRT)
    load_library(tensorrt, library)
    return tensorrt


def operators(torch: Any) -> dict[str, tuple[Any, dict[str, Any]]]:
    from edgefsa.models import FrequencySelfAttention, SpectralMask

    torch.manual_seed(0)
    attention = FrequencySelfAttention(SHAPE[1], recurrence=2).eval()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return {
        "TruncatedDctAttention": (attention, vars(attention.operator(*SHAPE[2:]))),
        "SpectralMask": (mask := SpectralMask(SHAPE[1]), vars(mask.operator(*SHAPE[2:]))),
    }


def graph_of(name: str, operator: dict[str, Any]) -> onnx.ModelProto:
    from edgefsa.graph.functions import function_for

    node = helper.make_node(
        name, ["x", *operator["tensors"]], ["y"], "operator", domain="edgefsa", **operator["attributes"]
    )
    batch = ["N", *SHAPE[1:]]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, batch)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, batch)],
        [numpy_helper.from_array(tensor.numpy(), key) for key, tensor in operator["tensors"].items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("edgefsa", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=[function_for(node)], ir_version=10)


def build(tensorrt: Any, model: onnx.ModelProto, *flags: str) -> bytes:
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    names = ("STRONGLY_TYPED", *flags)
    network = builder.create_network(
        sum(1 << int(getattr(tensorrt.NetworkDefinitionCreationFlag, name)) for name in names)
    )
    parser = tensorrt.OnnxParser(network, logger)
    data = model.SerializeToString()
    assert parser.parse(data), [parser.get_error(index).desc() for index in range(parser.num_errors)]
    kinds = [network.get_layer(index).type for index in range(network.num_layers)]
    assert tensorrt.LayerType.PLUGIN_V3 in kinds
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape("x", (1, *SHAPE[1:]), SHAPE, (4, *SHAPE[1:]))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None
    return bytes(plan)


def run(torch: Any, tensorrt: Any, plan: bytes, x: Any) -> Any:
    engine = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR)).deserialize_cuda_engine(plan)
    context = engine.create_execution_context()
    y = torch.empty_like(x)
    context.set_input_shape("x", tuple(x.shape))
    context.set_tensor_address("x", x.data_ptr())
    context.set_tensor_address("y", y.data_ptr())
    stream = torch.cuda.Stream()
    assert context.execute_async_v3(stream.cuda_stream)
    stream.synchronize()
    return y


def check(torch: Any, tensorrt: Any, plan: bytes, module: Any) -> None:
    for batch in (1, 3):
        x = torch.randn(batch, *SHAPE[1:], device="cuda").half()
        with torch.inference_mode():
            wanted = module.double().cuda()(x.double())
        found = run(torch, tensorrt, plan, x).double()
        assert float((found - wanted).norm() / wanted.norm()) < TOLERANCE


@pytest.mark.parametrize("name", ["TruncatedDctAttention", "SpectralMask"])
def test_a_plugin_of_the_library_in_an_engine(cuda: Any, with_library: Any, name: str) -> None:
    module, operator = operators(cuda)[name]
    plan = build(with_library, plugin_graph(graph_of(name, operator)))
    check(cuda, with_library, plan, module)


def test_a_kernel_inside_an_engine(cuda: Any, tensorrt: Any, capability: str) -> None:
    from edgefsa.engines.tensorrt.plugins import aot_plugins
    from edgefsa.machine import driver_cuda

    try:
        aot_plugins.register_aot_plugins(tensorrt, capability, driver_cuda())
    except EdgeFsaError as error:
        missing(f"needs kernels inside engines: {error}", REQUIRE_TENSORRT)
    module, operator = operators(cuda)["SpectralMask"]
    graph = plugin_graph(graph_of("SpectralMask", operator), namespace=aot_plugins.NAMESPACE)
    plan = build(tensorrt, graph, "PREFER_AOT_PYTHON_PLUGINS")
    check(cuda, tensorrt, plan, module)


def test_trtexec_loads_the_library(with_library: Any, capability: str, tmp_path: Path) -> None:
    import shutil
    import subprocess

    from edgefsa.engines.tensorrt.plugins.library import find_library
    from edgefsa.models import SpectralMask

    trtexec = shutil.which("trtexec") or shutil.which("trtexec", path="/usr/src/tensorrt/bin")
    if trtexec is None:
        missing("needs trtexec; it is neither on the PATH nor in /usr/src/tensorrt/bin", REQUIRE_TENSORRT)
    graph = plugin_graph(graph_of("SpectralMask", vars(SpectralMask(SHAPE[1]).operator(*SHAPE[2:]))))
    (tmp_path / "mask.onnx").write_bytes(graph.SerializeToString())
    library = find_library(with_library.__version__, capability).path
    shape = "x".join(map(str, SHAPE))
    command = [trtexec, f"--onnx={tmp_path / 'mask.onnx'}", f"--dynamicPlugins={library}", "--stronglyTyped"]
    command += [f"--minShapes=x:{shape}", f"--optShapes=x:{shape}", f"--maxShapes=x:{shape}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_graphs_of_these_tests_are_valid() -> None:
    """Needs no GPU, so that the rest of this file does not rot where there is none."""
    torch = pytest.importorskip("torch")
    for name, (_, operator) in operators(torch).items():
        model = graph_of(name, operator)
        onnx.checker.check_model(model)
        (node,) = plugin_graph(model).graph.node
        # A weight that was multiplied into another is a new tensor of nearly the same name.
        inputs = [tensor.removesuffix("_1") for tensor in node.input]
        assert (node.op_type, inputs) == (name, ["x", *operator["tensors"]])
