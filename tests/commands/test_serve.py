"""`edgefsa serve` as a user meets it: the link, masks of the engine in a browser's socket, a clean end."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefsa.data.synthetic import render_scene
from edgefsa.segment import Segmenter
from tests.commands.conftest import Run

pytest.importorskip("uvicorn", reason="the live view needs [serve]")
pytest.importorskip("httpx", reason="needs httpx ([dev])")


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("street")
    cv2.imwrite(str(folder / "s.png"), render_scene(3, (120, 160))[0])
    return folder


def test_a_browser_sees_the_engines_masks_and_ctrl_c_ends_it(built: Path, street: Path, tmp_path: Path) -> None:
    import httpx
    from websockets.sync.client import connect

    from tests.unit.serve.harness import next_frame

    engines = [built, shutil.copytree(built, tmp_path / "other")]
    command = [sys.executable, "-m", "edgefsa.cli", "serve", *engines, "--source", street, "--loop", "--rate", "20"]
    options = ["--host", "0.0.0.0", "--port", "0", "--canary", "5", "-o", tmp_path / "clips", "--json"]
    process = subprocess.Popen(
        [*map(str, command + options)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        lines = iter(process.stderr.readline, "")
        link = next(line.partition("live view: ")[2].strip() for line in lines if "live view: " in line)
        port = link.partition("/#")[0].rpartition(":")[2]
        headers = {"Authorization": f"Bearer {link.partition('#token=')[2]}"}
        with connect(f"ws://127.0.0.1:{port}/api/live", additional_headers=headers, proxy=None) as viewer:
            seen = next_frame(viewer)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False) as client:
                assert client.post("/api/engine", json={"engine": "other"}).status_code == 200
                assert client.post("/api/recording", json={"recording": True}).status_code == 200
            while next_frame(viewer).engine == 0:
                pass
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert result["interrupted"] and result["frames"] > 0
    assert [Path(path).parent for path in result["outputs"]] == [tmp_path / "clips"]
    with Segmenter(built) as segmenter:
        expected = segmenter.segment(cv2.imread(str(street / "s.png")))
    assert np.array_equal(seen.mask, expected.mask)


def test_mistakes_are_named_in_a_line(run: Run, built: Path, street: Path) -> None:
    source = ("--source", street)
    assert "the token has 5 characters" in run("serve", built, *source, "--token", "guess").error()
    assert "is no address" in run("serve", built, *source, "--host", "no.such.host.invalid").error()
    assert "serve:x" in run("run", built, *source, "--sink", "serve:x").error()


def test_nothing_of_torch_or_onnx_is_imported(built: Path, street: Path) -> None:
    code = (
        "import sys; from edgefsa.cli import app\n"
        f"app(['serve', {str(built)!r}, '--source', {str(street)!r}, '--port', '0'], standalone_mode=False)\n"
        "print(sorted({'torch', 'onnx'} & set(sys.modules)), 'uvicorn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[] True", done.stderr
