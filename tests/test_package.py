"""What a wheel carries: everything that the commands need away from a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILT_FROM = ("edgefsa/", "calibration/", "plugins/", "setup.py", "pyproject", "README", "LICENSE")


def test_a_wheel_holds_every_module_the_weights_and_the_ranges(tmp_path: Path) -> None:
    copied = tmp_path / "source"
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in files:
        if name.startswith(BUILT_FROM) and (ROOT / name).is_file():
            (copied / name).parent.mkdir(parents=True, exist_ok=True)
            (copied / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(copied),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "EDGEFSA_PLUGINS": "0"})
    assert done.returncode == 0, done.stderr
    assert next(tmp_path.glob("*.whl")).name.endswith("-py3-none-any.whl")
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    expected = {name for name in files if name.startswith("edgefsa/") and (ROOT / name).is_file()}
    assert expected <= names
    assert "edgefsa/calibration/fsanet-edge.json" in names
    sources = {name for name in files if name.startswith("plugins/") and not name.endswith((".md", ".py"))}
    assert {f"edgefsa/{name}" for name in sources if (ROOT / name).is_file()} <= names

    installed = tmp_path / "site"
    zipfile.ZipFile(next(tmp_path.glob("*.whl"))).extractall(installed)
    code = "import edgefsa.build as b; print(b.__file__, b.shipped_ranges('fsanet-edge').model)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=installed, env={"PYTHONPATH": str(installed)}, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(installed / "edgefsa" / "build.py"), "fsanet-edge"], done.stderr
