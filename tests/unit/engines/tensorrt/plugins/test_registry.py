"""A real TensorRT registry and ONNX parser with the plugin library: those of TensorRT for RTX, which need no GPU.

TensorRT for RTX has no plugin layers, so nothing is built. Each test has its own process: what is registered stays.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edgefsa.engines.tensorrt.plugins.library import LIBRARY_NAME, LIBRARY_VARIABLE, PLUGINS, read_library
from edgefsa.engines.tensorrt.plugins.sources import checkout_build_folder, source_sha256
from tests.kernels.emulation.build import compiler, objects_folder
from tests.unit.engines.tensorrt.plugins.harness.harness import build_driver, build_harness, include_dirs

ROOT = Path(__file__).parents[5]
REAL = "the library for a GPU"


@pytest.fixture(scope="module")
def headers() -> Path:
    pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX's Python package")
    if not include_dirs():
        pytest.skip("needs TensorRT's public headers; set TENSORRT_INCLUDE_DIR to their folder")
    if compiler() is None:
        pytest.skip("needs g++ to compile the plugins for the host; there is none on the PATH")
    return include_dirs()[-1]


@pytest.fixture(scope="module")
def real_library(headers: Path) -> Path:
    """The library that nvcc made, with CUDA's runtime in it: EDGEFSA_PLUGIN_LIBRARY, or that of `make plugins`."""
    build = checkout_build_folder()
    places = [Path(os.environ.get(LIBRARY_VARIABLE, "")), *([build / LIBRARY_NAME] if build else [])]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        pytest.skip("needs the plugin library for a GPU; run `make plugins`")
    if read_library(path).source_sha256 != source_sha256():
        pytest.skip(f"{path} was built from other sources than these; run `make plugins`")
    return path


@pytest.fixture(scope="module", params=["emulated kernels", REAL])
def library(request: pytest.FixtureRequest, headers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugins as libraries that TensorRT can load."""
    if request.param == REAL:
        return Path(request.getfixturevalue("real_library"))
    return build_harness(headers, objects_folder(), tmp_path_factory.mktemp("registry"))


def in_new_process(code: str, library: Path) -> dict[str, object]:
    text = f"import json, tensorrt_rtx as tensorrt\nLIBRARY = {str(library)!r}\n{textwrap.dedent(code)}"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stdout + done.stderr
    return dict(json.loads(lines[-1]))


def test_the_registry_takes_the_library_and_lists_its_creators(library: Path) -> None:
    found = in_new_process(
        """
        from types import SimpleNamespace
        from edgefsa.engines.tensorrt.plugins.library import check_plugins, load_library, PLUGINS
        load_library(tensorrt, SimpleNamespace(path=LIBRARY))
        load_library(tensorrt, SimpleNamespace(path=LIBRARY))
        check_plugins(tensorrt, PLUGINS)
        creators = {item.name: item for item in tensorrt.get_plugin_registry().all_creators}
        fields = {name: {f.name: f.type.name for f in creators[name].field_names} for name in PLUGINS}
        get = tensorrt.get_plugin_registry().get_creator
        found = [name for name in PLUGINS if get(name, creators[name].plugin_version, "edgefsa") is not None]
        versions = {name: creators[name].plugin_version for name in PLUGINS}
        print(json.dumps({"fields": fields, "versions": versions, "found": found}))
        """,
        library,
    )
    scales = {"x_scale": "FLOAT32", "y_scale": "FLOAT32"}
    assert found["versions"] == PLUGINS and found["found"] == list(PLUGINS), "by name, version and namespace"
    assert found["fields"] == {
        "TruncatedDctAttention": {"mode": "CHAR", "recurrence": "INT32", "scale": "FLOAT32", **scales},
        "SpectralMask": scales,
        "UpsampleArgmax": dict.fromkeys(("height", "width", "half_indices"), "INT32"),
    }


def test_a_library_that_a_tool_has_loaded_is_known_by_its_file(library: Path, tmp_path: Path) -> None:
    found = in_new_process(
        f"""
        import pathlib, shutil
        from types import SimpleNamespace
        from edgefsa.engines.tensorrt.plugins.library import load_library
        from edgefsa.errors import PluginError
        tensorrt.get_plugin_registry().load_library(LIBRARY)
        load_library(tensorrt, SimpleNamespace(path=LIBRARY))
        other = shutil.copy(LIBRARY, {str(tmp_path / "other.so")!r})
        try:
            load_library(tensorrt, SimpleNamespace(path=other))
        except PluginError as error:
            print(json.dumps({{"refused": str(error)}}))
        """,
        library,
    )
    assert "of no known file" in str(found["refused"])


def test_a_plugin_is_made_and_a_wrong_one_is_refused(library: Path) -> None:
    found = in_new_process(
        """
        import numpy
        registry = tensorrt.get_plugin_registry()
        registry.load_library(LIBRARY)
        creator = {item.name: item for item in registry.all_creators}["UpsampleArgmax"]
        def make(**sizes):
            kind = tensorrt.PluginFieldType.INT32
            fields = [tensorrt.PluginField(n, numpy.array([size], numpy.int32), kind) for n, size in sizes.items()]
            collection = tensorrt.PluginFieldCollection(fields)
            return creator.create_plugin("node", collection, tensorrt.TensorRTPhase.BUILD) is not None
        print(json.dumps({"right": make(height=4, width=6), "wrong": make(height=4)}))
        """,
        library,
    )
    assert found == {"right": True, "wrong": False}


def test_a_library_is_not_registered_twice(library: Path) -> None:
    found = in_new_process(
        """
        registry = tensorrt.get_plugin_registry()
        first, second = (registry.load_library(LIBRARY) is not None for _ in range(2))
        print(json.dumps({"first": first, "second": second}))
        """,
        library,
    )
    assert found == {"first": True, "second": False}


def test_the_static_library_registers_itself_where_a_program_starts(
    headers: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    version = (headers / "NvInferVersion.h").read_text()
    if int(re.findall(r"_MAJOR(?:_ENTERPRISE)? (\d+)", version)[0]) < 11:
        pytest.skip("needs headers of TensorRT 11 last in TENSORRT_INCLUDE_DIR: the registry's calls moved after 10")
    folder, objects = tmp_path_factory.mktemp("registered"), objects_folder()
    registered = build_harness(headers, objects, folder, registration="static_registration")
    found = in_new_process(
        """
        import ctypes, tensorrt_rtx_libs
        from pathlib import Path
        from edgefsa.engines.tensorrt.plugins.library import check_plugins, PLUGINS
        # Where the linker of a program would find getPluginRegistry.
        ctypes.CDLL(str(next(Path(tensorrt_rtx_libs.__path__[0]).glob("libtensorrt_rtx.so*"))), ctypes.RTLD_GLOBAL)
        before = len(tensorrt.get_plugin_registry().all_creators)
        ctypes.CDLL(LIBRARY)
        check_plugins(tensorrt, PLUGINS)
        print(json.dumps({"added": len(tensorrt.get_plugin_registry().all_creators) - before}))
        """,
        registered,
    )
    assert found == {"added": len(PLUGINS)}


PARSE = """
import sys
from edgefsa.engines.tensorrt.plugins.nodes import plugin_graph
from tests.unit.engines.tensorrt.plugins.test_nodes import int8_model, mask, model_of
from onnx import TensorProto

class Logger(tensorrt.ILogger):
    def __init__(self):
        tensorrt.ILogger.__init__(self)
    def log(self, severity, text):
        if "lugin" in text:
            print(json.dumps({"said": text}), flush=True)

tensorrt.get_plugin_registry().load_library(LIBRARY)
logger = Logger()
network = tensorrt.Builder(logger).create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
graph = plugin_graph({model})
tensorrt.OnnxParser(network, logger).parse(graph.SerializeToString())
"""


@pytest.mark.parametrize(
    ("operator", "model"),
    [
        ("SpectralMask", 'model_of([mask("x", "y")], [("y", TensorProto.FLOAT)], x=TensorProto.FLOAT)'),
        ("SpectralMask", 'int8_model("SpectralMask")[0]'),
        ("TruncatedDctAttention", 'int8_model("TruncatedDctAttention")[0]'),
    ],
    ids=["float map", "int8 mask", "int8 attention"],
)
def test_the_parser_makes_the_plugin_from_the_exported_node(library: Path, operator: str, model: str) -> None:
    # The layer that comes next is what TensorRT for RTX lacks: there the process ends.
    parse = PARSE.replace("{model}", model)
    text = f"import json, tensorrt_rtx as tensorrt\nLIBRARY = {str(library)!r}\n{parse}"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT)
    said = [json.loads(line)["said"] for line in done.stdout.splitlines() if line.startswith('{"said"')]
    assert f"Successfully created plugin: {operator}" in said, done.stdout + done.stderr
    assert not [line for line in said if "not found in plugin node" in line]


def test_the_library_for_a_gpu_is_driven_through_a_build_with_shapes_that_are_not_known(
    real_library: Path, headers: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    driver = build_driver(headers, objects_folder(), tmp_path_factory.mktemp("driver"))
    found = in_new_process(
        f"""
        import ctypes
        from dataclasses import replace
        from pathlib import Path
        from tests.unit.engines.tensorrt.plugins.harness.cases import ATTRIBUTES, make, tensors_of
        from tests.unit.engines.tensorrt.plugins.harness.harness import Harness
        ctypes.CDLL(LIBRARY, ctypes.RTLD_GLOBAL)
        harness, taken, sizes = Harness(Path({str(driver)!r})), {{}}, {{}}
        for name in ATTRIBUTES:
            plugin, known = make(harness, name), tensors_of(name)
            for rank in (None, 0, -1):
                unknown = [replace(item, dims=(-1, *item.dims[1:]), largest_rank=rank) for item in known]
                supported = [plugin.supports(position, unknown) for position in range(len(unknown))]
                taken[f"{{name}} {{rank}}"] = all(supported) and plugin.configure(unknown) == 0
            silent = [replace(item, largest_rank=0) for item in known]
            sizes[name] = [plugin.workspace_bytes(tensors) for tensors in (known, silent)]
        print(json.dumps({{"taken": taken, "sizes": sizes, "log": harness.log()}}))
        """,
        real_library,
    )
    assert set(dict(found["taken"]).values()) == {True} and found["log"] == ""
    sizes = dict(found["sizes"])
    assert all(known == silent for known, silent in sizes.values()) and sizes["TruncatedDctAttention"][0] > 0
