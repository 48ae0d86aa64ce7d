"""A manifest from elsewhere: each wrong field is named before anything is done with it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from edgefsa.artifacts import MANIFEST_NAME, Manifest, sha256_of_bytes
from edgefsa.errors import EngineError
from edgefsa.manifest_fields import is_file_name, manifest_fault
from tests.unit.test_manifest import MODEL, PROOF, golden

HASH = sha256_of_bytes(b"abc")
PLUGIN = {
    "name": "SpectralMask",
    "version": "1",
    "namespace": "",
    "where": "library",
    "tensorrt": "10.3",
    "sha256": HASH,
}


def manifest(**changes: Any) -> dict[str, Any]:
    value = Manifest(
        model=MODEL,
        target="tensorrt",
        precision="int8",
        precision_detail={"compute": "int8", "float": "f16", "layers": {"int8": 3}},
        files={"engine.plan": HASH, "golden.npz": HASH},
        golden=golden("golden.npz"),
        proof=copy.deepcopy(PROOF),
        versions={"edgefsa": "0.1.0"},
        device={"gpu": "NVIDIA", "compute_capabilities": ["8.7"], "cpu_features": ["avx2"]},
        plugins=[PLUGIN],
    )
    return {**asdict(value), **changes}


def test_the_kinds_of_evidence_are_those_that_have_words() -> None:
    from edgefsa.engines.precision import EVIDENCE

    for kind in EVIDENCE:
        assert manifest_fault(manifest(proof={**PROOF, "evidence": kind})) is None


def test_a_manifest_as_a_build_writes_it() -> None:
    assert manifest_fault(manifest()) is None
    detail = {"compute": "f16", "float": "f16", "f32_nodes": {"norm": "norm"}, "range_scan": None}
    assert manifest_fault(manifest(precision_detail=detail)) is None


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "model": (lambda value: value.update(model=[1]), "model that is no JSON object"),
    "size": (lambda value: value["model"].update(size_hw=[0, "x"]), "model with size_hw [0, 'x'], not two numbers"),
    "batch": (lambda value: value["model"].update(batch=True), "model with batch True, not 1 or more"),
    "palette": (lambda value: value["model"].update(palette=[[1, 2, 300]]), "model with palette [[1, 2, 300]], not"),
    "outputs": (lambda value: value["model"].update(outputs="x"), "model with outputs 'x', not masks or logits"),
    "target": (lambda value: value.update(target=3), "target 3, not a text"),
    "no target": (lambda value: value.pop("target"), "no target"),
    "precision": (lambda value: value.update(precision="fp8"), "precision 'fp8', not fp32, fp16, int8 or unknown"),
    "detail": (lambda value: value.update(precision_detail=None), "precision_detail None, not an object"),
    "no compute": (lambda value: value["precision_detail"].pop("compute"), "no precision_detail.compute"),
    "float": (lambda value: value["precision_detail"].update(float=1), "precision_detail.float 1, not a text"),
    "kept": (
        lambda value: value["precision_detail"].update(f32_nodes={"conv": 3}),
        "precision_detail.f32_nodes {'conv': 3}, not an object of texts",
    ),
    "scan": (
        lambda value: value["precision_detail"].update(range_scan=[]),
        "precision_detail.range_scan [], not an object or null",
    ),
    "hash": (lambda value: value["files"].update({"a": "abc"}), "files {"),
    "files": (lambda value: value.update(files=["a"]), "files ['a'], not plain file names"),
    "golden": (lambda value: value.update(golden=3), "golden 3, not an object"),
    "golden file": (lambda value: value["golden"].update(file="x.npz"), "golden.file 'x.npz', not one of its files"),
    "golden key": (lambda value: value["golden"].update(frames=3), "golden.frames 3, not a text"),
    "agreement": (lambda value: value["golden"].update(agreement=2), "golden.agreement 2, not a number from 0 to 1"),
    "no proof": (lambda value: value.pop("proof"), "no proof"),
    "evidence": (lambda value: value["proof"].update(evidence="hope"), "proof.evidence 'hope', not engine, network"),
    "numbers": (
        lambda value: value["proof"]["numbers"].update(float_to_converted={}),
        "proof.numbers.float_to_converted {}, not a distance",
    ),
    "share": (lambda value: value.update(int8_macs_share=80), "int8_macs_share 80, not a number from 0 to 1"),
    "quantization": (lambda value: value.update(quantization=[]), "quantization [], not an object or null"),
    "ranges": (
        lambda value: value.update(quantization={"calibrated": {"relu": {"amax": 0, "clipped": 0, "block": ""}}}),
        "quantization.calibrated {'relu': {'amax': 0, 'clipped': 0, 'block': ''}}, not ranges of tensors",
    ),
    "versions": (lambda value: value.update(versions={"a": 3}), "versions {'a': 3}, not an object of texts"),
    "features": (lambda value: value["device"].update(cpu_features="avx2"), "device.cpu_features 'avx2', not a list"),
    "capability": (
        lambda value: value["device"].update(compute_capabilities=["sm_87"]),
        "device.compute_capabilities ['sm_87'], not a list of texts like",
    ),
    "plugins": (lambda value: value.update(plugins=[3]), "plugins [3], not a list of objects"),
    "plugin": (lambda value: value["plugins"][0].update(version=1), "plugins[0].version 1, not a text"),
    "no where": (lambda value: value["plugins"][0].pop("where"), "no plugins[0].where"),
    "library": (lambda value: value["plugins"][0].pop("sha256"), "plugins[0] without the library's"),
    "created": (lambda value: value.update(created=None), "created None, not a text"),
}


@pytest.mark.parametrize("name", list(CHANGES))
def test_the_first_wrong_field_is_named(name: str, tmp_path: Path) -> None:
    change, expected = CHANGES[name]
    value = json.loads(json.dumps(manifest()))
    change(value)
    # Whoever changes a manifest can write its hash anew.
    own_hash = sha256_of_bytes(json.dumps(value, sort_keys=True).encode())
    (tmp_path / MANIFEST_NAME).write_text(json.dumps({**value, "sha256": own_hash}))
    with pytest.raises(EngineError) as caught:
        Manifest.read(tmp_path)
    message = str(caught.value)
    assert f"{MANIFEST_NAME} has {expected}" in message and "rebuild" in message and "\n" not in message


@pytest.mark.parametrize(
    "name", ["..", ".", "", "../a", "/etc/passwd", "a/b", "a\\b", "C:a", "c:\\a", "a\0", "~", "a\n", ".hidden", 3, None]
)
def test_names_that_could_lead_out_of_the_directory(name: Any) -> None:
    assert not is_file_name(name)
    if isinstance(name, str):
        assert "files" in str(manifest_fault(manifest(files={name: HASH, "golden.npz": HASH})))
        assert "golden.file" in str(manifest_fault(manifest(golden={"file": name})))


@pytest.mark.parametrize("name", ["engine.plan", "model.onnx", "int8.onnx", "openvino.bin", "layers.json", "a-1_b+c"])
def test_names_of_files_in_the_directory(name: str) -> None:
    assert is_file_name(name)
