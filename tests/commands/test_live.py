"""`edgefsa run` as a user meets it: sinks, figures, Ctrl-C, mistakes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import pytest

from edgefsa.commands.options import duration_from_text
from edgefsa.data.synthetic import render_scene
from edgefsa.errors import InputError
from edgefsa.media.labels import read_label
from edgefsa.segment import Segmenter
from tests.commands.conftest import Run

FRAMES = 12


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("street")
    for index in range(FRAMES):
        cv2.imwrite(str(folder / f"s{index:02}.png"), render_scene(index, (120, 160))[0])
    return folder


def test_several_sinks_get_every_frame_of_files(run: Run, built: Path, street: Path, tmp_path: Path) -> None:
    sinks = [f"masks:{tmp_path / 'masks'}", f"json:{tmp_path / 'f.jsonl'}", str(tmp_path / "o.mp4"), "null"]
    flags = [word for sink in sinks for word in ("--sink", sink)]
    outcome = run("run", built, "--source", street, *flags, "--canary", 4, "--json")
    assert outcome.status == 0, outcome.err
    result = outcome.json
    assert (result["frames"], result["captured"], result["dropped"], result["reconnects"]) == (FRAMES, FRAMES, 0, 0)
    assert result["camera_to_mask_ms"] is None, "there is no camera"
    assert set(result["stages"]) == {"prepare", "engine", "mask", "frame_to_mask"}
    assert all(time_ms["median"] > 0 for time_ms in result["stages"].values())
    assert result["canary"]["frames"] >= 1 and result["canary"]["lowest"] >= result["canary"]["bound"]
    assert "throttled" in result["conditions"], "the machine is looked at"
    assert result["max_rss_mb"] > 50 and result["fps"] > 0 and not result["interrupted"]
    records = [json.loads(line) for line in (tmp_path / "f.jsonl").read_text().splitlines()]
    assert [record["index"] for record in records] == list(range(FRAMES))
    with Segmenter(built) as segmenter:
        for path in sorted(street.iterdir()):
            expected = segmenter.segment(cv2.imread(str(path))).mask
            assert (read_label(tmp_path / "masks" / f"{path.stem}.png") == expected).all()
    with av.open(str(tmp_path / "o.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == FRAMES
    assert {str(tmp_path / "o.mp4"), str(tmp_path / "f.jsonl")} <= set(result["outputs"])


def test_a_live_run_says_its_figures_to_people(run: Run, built: Path, street: Path) -> None:
    outcome = run("run", built, "--source", street, "--loop", "--rate", 40, "--duration", "1s", "--sink", "null")
    assert outcome.status == 0, outcome.err
    assert all(words in outcome.out for words in ("camera to mask", "queue", "a second", "at most"))


def test_ctrl_c_leaves_a_whole_recording_and_the_figures(built: Path, street: Path, tmp_path: Path) -> None:
    sink = ["--sink", str(tmp_path / "o.mp4"), "--sink", f"json:{tmp_path / 'f.jsonl'}"]
    command = [sys.executable, "-m", "edgefsa.cli", "run", built, "--source", street, "--loop", "--rate", "20", *sink]
    process = subprocess.Popen([*map(str, command), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if len(list(tmp_path.iterdir())) and any(path.stat().st_size > 2000 for path in tmp_path.iterdir()):
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert result["interrupted"] and result["frames"] > 0
    assert result["camera_to_mask_ms"]["p95"] >= result["stages"]["engine"]["median"]
    with av.open(str(tmp_path / "o.mp4")) as video:
        shown = sum(1 for _ in video.decode(video=0))
    assert shown + result["sinks"]["video"]["skipped"] == result["frames"]


def test_mistakes_are_named_in_a_line(run: Run, built: Path, street: Path, tmp_path: Path) -> None:
    source = ("--source", street)
    assert "two have the same directory name" in run("run", built, built, *source, "--sink", "null").error()
    assert "--duration soon is no time" in run("run", built, *source, "--duration", "soon", "--sink", "null").error()
    assert "nowhere is no sink" in run("run", built, *source, "--sink", "nowhere").error()
    assert "does not exist" in run("run", built, "--source", tmp_path / "none", "--sink", "null").error()
    assert "--source" in run("run", built, "--sink", "null").error()


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("30s", 30), ("10m", 600), ("1.5h", 5400), (None, None)])
def test_durations(text: str | None, seconds: float | None) -> None:
    assert duration_from_text(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "0", "-1s", "nan", "inf", "1d", "1e999m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InputError, match="--duration"):
        duration_from_text(text)


def test_nothing_of_torch_or_onnx_is_imported(built: Path, street: Path) -> None:
    code = (
        "import sys; from edgefsa.cli import app\n"
        f"app(['run', {str(built)!r}, '--source', {str(street)!r}, '--sink', 'null'], standalone_mode=False)\n"
        "print(sorted({'torch', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[]", done.stderr
