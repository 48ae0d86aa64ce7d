"""Signatures by ssh-keygen: whose they are, and that they hold."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgefsa.deploy.signature import NAMESPACE, fingerprint_of, sign, signer_of
from edgefsa.errors import BundleError, InputError


def test_a_signature_holds_for_its_data_and_its_signer(keys: Path) -> None:
    signature = sign(b"data", keys / "ann")
    assert signer_of(b"data", signature, keys / "allowed", "x") == "ann@example.org"
    listed = subprocess.run(["ssh-keygen", "-lf", str(keys / "ann.pub")], capture_output=True, text=True, check=True)
    assert fingerprint_of(b"data", signature, "x") == listed.stdout.split()[1]
    with pytest.raises(BundleError, match=r"x: the signature of ann@example.org does not hold"):
        signer_of(b"Data", signature, keys / "allowed", "x")
    with pytest.raises(BundleError, match=r"x: its signature does not hold"):
        fingerprint_of(b"Data", signature, "x")
    with pytest.raises(BundleError, match="x is signed by none of"):
        signer_of(b"data", signature, keys / "other", "x")


def test_a_signature_for_something_else_does_not_pass(keys: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"data")
    command = ["ssh-keygen", "-Y", "sign", "-f", str(keys / "ann"), "-n", "file", str(tmp_path / "data")]
    subprocess.run(command, check=True, capture_output=True)
    signature = (tmp_path / "data.sig").read_bytes()
    assert NAMESPACE != "file"
    with pytest.raises(BundleError, match="does not hold"):
        signer_of(b"data", signature, keys / "allowed", "x")
    with pytest.raises(BundleError, match="does not hold"):
        fingerprint_of(b"data", signature, "x")


def test_rubbish_in_place_of_a_signature(keys: Path) -> None:
    for rubbish in (b"", b"rubbish", b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"):
        with pytest.raises(BundleError, match="signed by none"):
            signer_of(b"data", rubbish, keys / "allowed", "x")
        with pytest.raises(BundleError, match="does not hold"):
            fingerprint_of(b"data", rubbish, "x")


def test_keys_and_lists_that_are_none(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--sign .*none is no file"):
        sign(b"data", tmp_path / "none")
    (tmp_path / "text").write_text("no key")
    with pytest.raises(InputError, match=r"ssh-keygen cannot sign with .*text"):
        sign(b"data", tmp_path / "text")
    with pytest.raises(InputError, match=r"--allowed-signers .*none is no file"):
        signer_of(b"data", sign(b"data", keys / "ann"), tmp_path / "none", "x")
