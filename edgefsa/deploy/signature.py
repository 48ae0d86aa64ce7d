"""Signatures of bundles, made and checked by OpenSSH's ssh-keygen with the keys that people have for ssh."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgefsa.errors import BundleError, InputError

# What a signature is for; one that was made for mail or for a commit does not pass as one of a bundle.
NAMESPACE = "edgefsa-bundle"
_FINGERPRINT = re.compile(r"SHA256:\S+")


def sign(data: bytes, key: str | Path) -> bytes:
    """Return an armoured signature of `data` by an ssh key: a private file, or a .pub whose other half the agent has.

    ssh-keygen asks at the terminal for a passphrase. Raises InputError where it cannot sign.
    """
    if not Path(key).is_file():
        raise InputError(f"--sign {key} is no file; give the path of an ssh key, for instance ~/.ssh/id_ed25519")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data"
        path.write_bytes(data)
        done = _ssh_keygen(["sign", "-f", str(Path(key).absolute()), "-n", NAMESPACE, str(path)])
        signature = Path(folder) / "data.sig"
        if done.returncode != 0 or not signature.is_file():
            raise InputError(f"ssh-keygen cannot sign with {key}: {_reason(done)}; give another key")
        return signature.read_bytes()


def signer_of(data: bytes, signature: bytes, allowed_signers: str | Path, source: object) -> str:
    """Return who signed `data` by a file of allowed signers (ssh-keygen(1), ALLOWED SIGNERS).

    Raises BundleError, naming `source`, where the signature is not theirs or `data` was changed after it was made.
    """
    if not Path(allowed_signers).is_file():
        raise InputError(f"--allowed-signers {allowed_signers} is no file; give one as ssh-keygen(1) describes it")
    allowed = str(Path(allowed_signers).absolute())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signature"
        path.write_bytes(signature)
        found = _ssh_keygen(["find-principals", "-s", str(path), "-f", allowed])
        if found.returncode != 0 or not found.stdout.strip():
            raise BundleError(f"{source} is signed by none of {allowed_signers} ({_reason(found)}); refused")
        signer = found.stdout.decode(errors="replace").splitlines()[0]
        done = _ssh_keygen(["verify", "-f", allowed, "-I", signer, "-n", NAMESPACE, "-s", str(path)], data)
    if done.returncode != 0:
        raise BundleError(f"{source}: the signature of {signer} does not hold ({_reason(done)}); refused")
    return signer


def fingerprint_of(data: bytes, signature: bytes, source: object) -> str:
    """Return the fingerprint "SHA256:..." of the key that signed `data`, whosever it is.

    Raises BundleError where `data` was changed after it was signed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "signature"
        path.write_bytes(signature)
        done = _ssh_keygen(["check-novalidate", "-n", NAMESPACE, "-s", str(path)], data)
    found = _FINGERPRINT.search(done.stdout.decode(errors="replace"))
    if done.returncode != 0 or found is None:
        raise BundleError(f"{source}: its signature does not hold ({_reason(done)}); refused")
    return found[0]


def _ssh_keygen(arguments: Sequence[str], data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["ssh-keygen", "-Y", *arguments], input=data, capture_output=True, check=False)
    except FileNotFoundError:
        raise InputError("signatures need ssh-keygen, which is not here; install OpenSSH's client") from None


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = [line.strip() for line in (done.stderr + done.stdout).decode(errors="replace").splitlines()]
    return next((line for line in lines if line), f"exit status {done.returncode}")
