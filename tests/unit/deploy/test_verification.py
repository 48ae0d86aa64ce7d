"""Verifying a bundle: an engine is built of it here, without torch, and held to the golden frames' truth."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgefsa.artifacts import Manifest, sha256_of_file
from edgefsa.deploy.bundle import unpack_bundle, write_bundle
from edgefsa.deploy.verification import verify_bundle
from edgefsa.engines import open_engine
from edgefsa.engines.registry import target_of
from edgefsa.engines.tensorrt.timing_cache import timing_cache_path
from edgefsa.errors import BundleError, EngineError, InputError, OutputError, TargetError


def with_other_truth(engine: Path, folder: Path) -> Path:
    """Copy an engine, with golden outputs that no network gives."""
    copied = Path(shutil.copytree(engine, folder / engine.name))
    with np.load(copied / "golden.npz") as stored:
        arrays = dict(stored)
    arrays["outputs"] = (arrays["outputs"] + 1) % 4
    np.savez_compressed(copied / "golden.npz", **arrays)
    edit(copied)
    return copied


def edit(engine: Path, **changes: object) -> None:
    """Change fields of a manifest, and let it list the files as they are."""
    manifest = Manifest.read(engine)
    for name, value in changes.items():
        setattr(manifest, name, value)
    manifest.files = {path.name: sha256_of_file(path) for path in engine.iterdir() if path.name != "manifest.json"}
    manifest.write(engine)


def test_an_engine_is_built_and_kept_once_it_passed(bundle_file: Path, tiny_engine: Path, tmp_path: Path) -> None:
    found = verify_bundle(bundle_file, output=tmp_path / "engines")
    assert found.engine == str(tmp_path / "engines" / tiny_engine.name) and found.target == "onnxruntime"
    assert found.agreement is not None and found.needed is not None and found.agreement >= found.needed > 0.9
    frames, expected = (np.load(tiny_engine / "golden.npz")[name] for name in ("frames", "outputs"))
    with open_engine(found.engine) as session:  # the share, counted here
        share = float(np.mean([session.run(frames[0]) == expected[0]]))
    assert found.agreement == pytest.approx(share)
    assert found.build["int8_macs_share"] == Manifest.read(tiny_engine).int8_macs_share
    with pytest.raises(OutputError, match="exists already"):
        verify_bundle(bundle_file, output=tmp_path / "engines")
    again = verify_bundle(bundle_file, engine=found.engine)
    assert again.agreement == found.agreement and again.build == {}
    assert [path.name for path in (tmp_path / "engines").iterdir()] == [tiny_engine.name]


def test_another_target_is_held_to_the_same_truth(bundle_file: Path) -> None:
    pytest.importorskip("openvino", reason="needs OpenVINO: pip install 'edgefsa[cpu]'")
    found = verify_bundle(bundle_file, target="openvino")
    assert found.target == "openvino" and found.engine is None
    assert found.agreement is not None and found.needed is not None and found.agreement >= found.needed


def test_an_engine_that_differs_is_not_kept(tiny_engine: Path, tmp_path: Path) -> None:
    bundle = write_bundle(with_other_truth(tiny_engine, tmp_path), tmp_path / "other.edgefsa").path
    with pytest.raises(EngineError, match=r"the golden frames in 0\.\d\d % of the pixels, and the bundle asks for 98"):
        verify_bundle(bundle, output=tmp_path / "engines")
    assert not list((tmp_path / "engines").iterdir())
    with pytest.raises(EngineError, match="golden frames"):
        verify_bundle(bundle, engine=tiny_engine)


def test_an_engine_of_another_model_is_no_comparison(bundle_file: Path, tiny_engine: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(tiny_engine, tmp_path / "other"))
    model = Manifest.read(other).model
    edit(other, model={**model, "classes": ["a", "b", "c", "d"]})
    with pytest.raises(InputError, match="is of another model"):
        verify_bundle(bundle_file, engine=other)


def test_files_alone_and_a_target_that_is_not_here(
    bundle_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = verify_bundle(bundle_file, files_only=True)
    assert (found.agreement, found.members, found.signed_by) == (None, 8, None) and found.why_not
    monkeypatch.setattr(type(target_of("onnxruntime")), "unusable", lambda self: "it was taken away")
    found = verify_bundle(bundle_file)
    assert found.agreement is None and found.why_not == "onnxruntime cannot build and run here: it was taken away"
    with pytest.raises(TargetError, match="it was taken away"):
        verify_bundle(bundle_file, target="onnxruntime", output=tmp_path / "engines")


def test_a_demanded_signature_comes_before_everything(bundle_file: Path, keys: Path) -> None:
    with pytest.raises(BundleError, match="is not signed"):
        verify_bundle(bundle_file, allowed_signers=keys / "allowed")


def test_timings_serve_where_the_same_gpu_is(
    tiny_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are put where a build of that version on that GPU looks, and never over what is there."""
    monkeypatch.setenv("EDGEFSA_CACHE_DIR", str(tmp_path / "cache"))
    engine = Path(shutil.copytree(tiny_engine, tmp_path / "engine"))
    (engine / "timing.cache").write_bytes(b"timings")
    device = {"gpu": "Orin (nvgpu)", "compute_capabilities": ["8.7"]}
    edit(engine, device=device, versions={"edgefsa": "0.1.0", "tensorrt": "10.3.0", "onnxruntime": "1"})
    bundle = write_bundle(engine, tmp_path / "b.edgefsa").path
    assert (unpack_bundle(bundle, tmp_path / "b").path / "timing.cache").read_bytes() == b"timings"
    verify_bundle(bundle)
    place = timing_cache_path("10.3.0", "Orin (nvgpu)", "8.7")
    assert place.read_bytes() == b"timings"
    place.write_bytes(b"own")
    verify_bundle(bundle)
    assert place.read_bytes() == b"own"


def test_no_torch_is_loaded(bundle_file: Path, tmp_path: Path) -> None:
    """Also where it is installed: a board has none."""
    code = (
        "import sys, json; sys.modules['torch'] = None; from edgefsa.deploy.verification import verify_bundle;"
        "print(json.dumps(verify_bundle(sys.argv[1]).as_dict()))"
    )
    command = [sys.executable, "-c", code, str(bundle_file)]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["agreement"] > 0.9
