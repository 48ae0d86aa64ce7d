"""What is checked before an engine runs, and what it says when something differs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefsa import machine as device
from edgefsa.artifacts import Manifest
from edgefsa.engines import directory, inspect_engine, logits_session, open_engine
from edgefsa.engines import target as target_module
from edgefsa.engines.names import LAYERS_NAME
from edgefsa.engines.registry import targets
from edgefsa.engines.session import read_layers
from edgefsa.engines.target import Target
from edgefsa.errors import EngineError, TargetError
from tests.unit.engines.conftest import Build


@pytest.fixture
def engine(build: Build) -> Path:
    return build("int8", "openvino").engine


def edit(engine: Path, **changes: Any) -> None:
    manifest = Manifest.read(engine)
    for name, value in changes.items():
        setattr(manifest, name, value)
    manifest.write(engine)


def message_of_opening(engine: Path, **options: Any) -> str:
    with pytest.raises((EngineError, TargetError)) as caught, open_engine(engine, **options):
        pass
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", ["engine.bin", "engine.xml", "model.onnx", "golden.npz", "layers.json"])
def test_a_changed_byte_is_named(engine: Path, name: str) -> None:
    data = bytearray((engine / name).read_bytes())
    data[len(data) // 2] ^= 1
    (engine / name).write_bytes(data)
    assert f"{name} was changed" in message_of_opening(engine)
    for use in (inspect_engine, logits_session):
        with pytest.raises(EngineError, match=name):
            use(engine)


def test_a_missing_file_is_named(engine: Path) -> None:
    (engine / "engine.bin").unlink()
    assert "engine.bin is missing" in message_of_opening(engine)


def test_a_damaged_file_without_the_check_is_still_one_line(engine: Path) -> None:
    (engine / "engine.xml").write_text("<net")
    assert "engine.xml" in message_of_opening(engine, check=False)


def test_a_folder_that_is_no_engine(tmp_path: Path) -> None:
    assert "edgefsa build" in message_of_opening(tmp_path)


def test_another_golden_output(engine: Path) -> None:
    with np.load(engine / "golden.npz") as stored:
        frames, outputs = stored["frames"], stored["outputs"]
    np.savez_compressed(engine / "golden.npz", frames=frames, outputs=np.roll(outputs, 1, axis=2))
    with open_engine(engine, check=False):
        pass
    edit(engine, files={**Manifest.read(engine).files, "golden.npz": _sha256(engine / "golden.npz")})
    text = message_of_opening(engine)
    assert "what its converted graph defines" in text and "% of the pixels agree, 98.0 % must" in text


@pytest.mark.parametrize("version", ["99.0.0", "0.99.0", ""])
def test_another_edgefsa(engine: Path, version: str) -> None:
    edit(engine, versions={**Manifest.read(engine).versions, "edgefsa": version})
    text = message_of_opening(engine)
    assert f"edgefsa {version}" in text and "rebuild" in text


def test_another_patch_of_edgefsa_is_taken(engine: Path) -> None:
    here = directory.edgefsa.__version__.rsplit(".", 1)[0]
    edit(engine, versions={**Manifest.read(engine).versions, "edgefsa": f"{here}.99"})
    with open_engine(engine):
        pass


def test_another_runtime(engine: Path) -> None:
    edit(engine, versions={**Manifest.read(engine).versions, "openvino": "2019.3"})
    text = message_of_opening(engine)
    assert "openvino 2019.3" in text and "rebuild" in text


def test_a_runtime_that_is_not_installed(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Target, "version", lambda self: "")
    assert "pip install 'edgefsa[cpu]'" in message_of_opening(engine)


def test_a_cpu_without_the_features_of_the_proof(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = Manifest.read(engine).device
    if not facts["cpu_features"]:
        edit(engine, device={**facts, "cpu_features": ["avx512_vnni"]})
    other = device.Cpu("Old Processor", facts["architecture"], ("avx2",))
    monkeypatch.setattr(target_module, "cpu", lambda: other)
    text = message_of_opening(engine)
    assert Manifest.read(engine).device["cpu_features"][0] in text
    assert "Old Processor" in text and "rebuild" in text


def test_another_architecture(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(engine, device={**Manifest.read(engine).device, "cpu_features": ["avx2"], "architecture": "x86_64"})
    monkeypatch.setattr(target_module, "cpu", lambda: device.Cpu("Grace", "aarch64", ("asimd",)))
    assert "x86_64" in message_of_opening(engine)


def test_a_float32_engine_opens_on_another_cpu(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = build("fp32").engine
    monkeypatch.setattr(target_module, "cpu", lambda: device.Cpu("Old Processor", "x86_64", ()))
    with open_engine(engine):
        pass


def test_a_target_that_does_not_exist(engine: Path) -> None:
    edit(engine, target="abacus")
    text = message_of_opening(engine)
    assert "abacus" in text and all(name in text for name in targets())


def test_a_manifest_of_another_size(engine: Path) -> None:
    edit(engine, model={**Manifest.read(engine).model, "size_hw": [64, 64]})
    text = message_of_opening(engine, check=False)
    assert "[1, 32, 48, 3]" in text and "[1, 64, 64, 3]" in text


def test_an_engine_can_be_moved(engine: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(engine, moved)
    shutil.rmtree(engine)
    with open_engine(moved) as session:
        assert session.run(np.zeros(session.input_shape, np.uint8)).shape == (1, 32, 48)


def test_inspect_is_plain_json_and_needs_no_runtime(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Target, "version", lambda self: "")
    told = json.loads(json.dumps(inspect_engine(engine)))
    assert told["manifest"]["precision"] == "int8"
    assert {"name", "kind", "precision", "detail"} <= set(told["layers"][0])
    assert "2 of 2" in told["summary"]["proved"] and told["summary"]["weights"] == "random"
    assert "read from the engine's own layer list" in told["summary"]["proved"]
    assert (
        "% of the MACs in INT8" in told["summary"]["share"] and "relative L2" in told["summary"]["float to converted"]
    )


def test_layers_of_an_open_session_are_those_of_the_record(engine: Path) -> None:
    session = open_engine(engine)
    recorded = session.layer_precisions()
    with session:
        assert [(row.kind, row.precision) for row in session.layer_precisions()] == [
            (row.kind, row.precision) for row in recorded
        ]


def _sha256(path: Path) -> str:
    from edgefsa.artifacts import sha256_of_file

    return sha256_of_file(path)


@pytest.mark.parametrize("text", ["", "3", "[3]", '[{"name": "a"}]', '[{"nodes": [], "unknown": 1}]'])
def test_layers_that_are_something_else(text: str, tmp_path: Path) -> None:
    (tmp_path / LAYERS_NAME).write_text(text)
    with pytest.raises(EngineError, match=rf"{LAYERS_NAME} cannot be read .*; rebuild the engine"):
        read_layers(tmp_path)
