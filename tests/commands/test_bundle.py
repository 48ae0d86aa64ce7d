"""The commands bundle, unpack and verify, by hand on one machine; deploy is tested with a board."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.commands.conftest import Run


def test_from_an_engine_to_an_engine_elsewhere(
    run: Run, engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    made = run("bundle", engine, "--json").json
    assert made["bundle"] == f"{engine.name}.edgefsa" and made["bytes"] == Path(made["bundle"]).stat().st_size
    assert {"model.onnx", "int8.onnx", "ranges.json", "golden.npz"} <= set(made["members"])
    unpacked = run("unpack", made["bundle"], "--json").json
    assert unpacked["folder"] == engine.name and unpacked["members"] == made["members"]
    assert "exists already" in run("unpack", made["bundle"]).error()
    assert run("unpack", made["bundle"], "--overwrite").status == 0
    shown = run("verify", unpacked["folder"], "-o", "engines")
    assert shown.status == 0 and "of the pixels agree" in shown.out and "signed by  nobody" in shown.out
    found = run("verify", made["bundle"], "--engine", Path("engines") / engine.name, "--json").json
    assert found["agreement"] >= found["needed"] and found["target"] == "openvino"
    calibrated = run("calibrate", f"{engine.name}/model.onnx", "--recipe", f"{engine.name}/recipe.toml", "--json").json
    assert calibrated["data"]["name"] == "synthetic", "its recipe is one that calibrate reads"


def test_signing_and_demanding_it(run: Run, engine: Path, tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("needs ssh-keygen: apt install openssh-client")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    (tmp_path / "allowed").write_text(f"ann {(tmp_path / 'key.pub').read_text()}")
    plain, signed = tmp_path / "plain.edgefsa", tmp_path / "signed.edgefsa"
    assert run("bundle", engine, "-o", plain).status == 0
    assert run("bundle", engine, "-o", signed, "--sign", tmp_path / "key").status == 0
    demanded = ("--allowed-signers", tmp_path / "allowed")
    assert run("verify", signed, "--files-only", *demanded, "--json").json["signed_by"] == "ann"
    assert "is not signed" in run("verify", plain, "--files-only", *demanded).error()
    assert "is not signed" in run("unpack", plain, "-o", tmp_path / "u", *demanded).error()
    assert not (tmp_path / "u").exists()


def test_what_cannot_be_used(run: Run, engine: Path, tmp_path: Path) -> None:
    (tmp_path / "text.edgefsa").write_text("this is no bundle")
    for command in ("unpack", "verify"):
        assert "text.edgefsa is cut short, or no bundle" in run(command, tmp_path / "text.edgefsa").error()
        assert "none.edgefsa: no such file" in run(command, tmp_path / "none.edgefsa").error()
    assert "no manifest.json" in run("bundle", tmp_path).error()
    assert "leave --target and -o out" in run("verify", tmp_path, "--engine", engine, "--target", "auto").error()
    assert "none is no file" in run("bundle", engine, "-o", tmp_path / "b", "--sign", tmp_path / "none").error()
    assert not (tmp_path / "b").exists()
