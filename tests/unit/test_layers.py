"""Who may import whom, and what a process that runs an engine may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edgefsa

PACKAGE = Path(edgefsa.__file__).parent
BASE = {"errors", "artifacts", "cache", "media", "machine", "manifest_fields", "metadata", "resources"}
# Folder -> what else of edgefsa its files may import.
ALLOWED = {
    "models": BASE,
    "data": BASE,
    "graph": BASE,
    "kernels": BASE | {"models", "graph.operators", "engines.tensorrt.plugins"},
    "export": BASE | {"models", "data", "graph"},
    "quantize": BASE | {"graph"},
    "engines": BASE | {"graph", "quantize"},
    "segment": BASE | {"engines", "data"},
    "verify": BASE | {"engines", "segment", "data"},
    "serve": BASE | {"engines", "segment"},
    "deploy": BASE | {"engines", "segment", "verify", "data"},
    "train": BASE | {"models", "data", "verify"},
}
# The parity check holds an engine against all that it came from, so it alone looks back up the pipeline.
# Training for INT8 trains what the rest of the pipeline makes of a network. A sink's URI may name the live view.
EXTRA = {
    # Torch-TensorRT compiles the module, not its ONNX file.
    "engines/tensorrt/torch_tensorrt.py": {"export"},
    "segment/sinks/uri.py": {"serve"},
    # The report counts an engine's operations where onnx is installed.
    "verify/footprint.py": {"graph"},
    "verify/parity/compare.py": {"graph"},
    "verify/parity/module.py": {"models", "export"},
    "verify/parity/run.py": {"graph", "models", "quantize"},
    "verify/parity/search.py": {"graph"},
    "verify/parity/stages.py": {"graph"},
    "verify/parity/verdict.py": {"graph"},
    # Accuracy on frames that shipped weights were trained on says so.
    "verify/seen_in_training.py": {"models"},
    # The search for what INT8 leaves in float builds engines to measure them.
    "verify/sensitivity/bench.py": {"graph", "quantize"},
    "verify/sensitivity/recipe_search.py": {"quantize"},
    # A bundle's engine is built on the board as `edgefsa build` builds one.
    "deploy/verification.py": {"build"},
    # A service runs the live view; the self-check goes the whole way, from an ONNX file to it.
    "deploy/service.py": {"serve"},
    "deploy/selftest_steps.py": {"build", "graph", "serve"},
    "train/qat.py": {"build", "export", "quantize"},
    "train/qat_calls.py": {"graph", "quantize"},
    "train/qat_network.py": {"export", "graph", "quantize"},
}


def imports_of(path: Path) -> set[str]:
    """Return the edgefsa modules that a file imports, as dotted names without the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("edgefsa."):
            found.add(node.module.removeprefix("edgefsa."))
        elif isinstance(node, ast.ImportFrom) and node.module == "edgefsa":
            found.update(alias.name for alias in node.names if (PACKAGE / alias.name).exists())
        elif isinstance(node, ast.Import):
            found.update(a.name.removeprefix("edgefsa.") for a in node.names if a.name.startswith("edgefsa."))
    return found


def allowed(module: str, permitted: set[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in permitted)


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_a_folder_imports_only_what_lies_below_it(folder: str) -> None:
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        permitted = ALLOWED[folder] | {folder} | EXTRA.get(path.relative_to(PACKAGE).as_posix(), set())
        wrong = {module for module in imports_of(path) if not allowed(module, permitted)}
        assert not wrong, f"{path.name} imports {sorted(wrong)}"


def test_the_ground_imports_nothing_above_it() -> None:
    for name in BASE:
        folder = PACKAGE / name
        for path in folder.rglob("*.py") if folder.is_dir() else [PACKAGE / f"{name}.py"]:
            wrong = {module for module in imports_of(path) if not allowed(module, BASE)}
            assert not wrong, f"{path.name} imports {sorted(wrong)}"


@pytest.mark.parametrize(
    "module",
    [
        "edgefsa",
        "edgefsa.cli",
        "edgefsa.engines",
        "edgefsa.segment",
        "edgefsa.verify",
        "edgefsa.data",
        "edgefsa.deploy",
        "edgefsa.serve",
    ],
)
def test_the_device_side_loads_neither_torch_nor_onnx(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'onnx', 'onnxscript'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_reading_a_graph_does_not_load_torch() -> None:
    code = "import sys, edgefsa.graph.files, edgefsa.quantize; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
