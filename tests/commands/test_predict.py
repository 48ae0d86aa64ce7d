"""`edgefsa predict` on folders, pictures of phones and videos, as a user meets it."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from edgefsa.data.synthetic import render_scene
from edgefsa.media.labels import read_label
from tests.commands.conftest import Run
from tests.servers.mjpeg import MjpegServer


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for index in range(count):
        cv2.imwrite(str(folder / f"street{index:02}.jpg"), render_scene(index, (120, 160))[0])
    return folder


def test_a_damaged_file_is_named_the_rest_is_done_and_the_status_is_1(run: Run, built: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", 3)
    broken = folder / "street01.jpg"
    broken.write_bytes(broken.read_bytes()[:500])
    for index, flags in enumerate(([], ["--json"])):
        out = tmp_path / f"out{index}"
        outcome = run("predict", built, folder, "-o", out, *flags)
        assert outcome.status == 1, "neither done (0) nor a mistake that stopped all (2)"
        assert f"failed: {broken} is damaged or cut short" in outcome.err
        written = {path.name for path in out.iterdir()}
        assert written == {f"street0{n}_{kind}" for n in (0, 2) for kind in ("overlay.jpg", "mask.png")}
    failed = outcome.json["failed"]
    assert [row["file"] for row in failed] == [str(broken)]
    assert failed[0]["reason"].startswith(f"{broken} is damaged or cut short")


def test_files_are_listed_where_that_is_asked_for(run: Run, built: Path, tmp_path: Path) -> None:
    folder, out = pictures(tmp_path / "in", 6), tmp_path / "out"
    short = run("predict", built, folder, "-o", out)
    assert short.status == 0
    assert short.out.count("_overlay.jpg") + short.out.count("_mask.png") == 3
    assert "and 9 more (--verbose lists them)" in short.out
    listed = run("predict", built, folder, "-o", out, "--verbose").out.splitlines()
    written = {str(path) for path in out.iterdir()}
    assert set(listed) >= written
    assert len(written) == 12
    assert set(run("predict", built, folder, "-o", out, "--json").json["outputs"]) == written


def test_a_picture_of_a_phone_is_turned_and_said(run: Run, built: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(render_scene(1, (120, 160))[0][..., ::-1]).save(tmp_path / "phone.jpg", exif=exif)
    turned = run("predict", built, tmp_path / "phone.jpg", "-o", tmp_path / "out")
    assert turned.err == (
        "note: phone.jpg: turned upright by EXIF orientation; --orientation raw takes the pixels as they are stored\n"
    )
    assert read_label(tmp_path / "out" / "phone_mask.png").shape == (160, 120)
    raw = run("predict", built, tmp_path / "phone.jpg", "-o", tmp_path / "out", "--orientation", "raw")
    assert raw.err == ""
    assert read_label(tmp_path / "out" / "phone_mask.png").shape == (120, 160)
    wrong = run("predict", built, tmp_path / "phone.jpg", "-o", tmp_path / "out", "--orientation", "up")
    assert "orientation 'up' is unknown" in wrong.error()


def test_a_12_bit_picture_gives_the_mask_of_its_8_bit_twin(run: Run, built: Path, tmp_path: Path) -> None:
    scene = render_scene(3, (128, 160))[0]
    cv2.imwrite(str(tmp_path / "eight.png"), scene)
    cv2.imwrite(str(tmp_path / "twelve.png"), np.rint(scene * (4095 / 255)).astype(np.uint16))
    for name in ("eight", "twelve"):
        outcome = run("predict", built, tmp_path / f"{name}.png", "-o", tmp_path)
        assert outcome.status == 0
    assert "16-bit values are read as 12 bits" in outcome.err
    assert np.array_equal(read_label(tmp_path / "eight_mask.png"), read_label(tmp_path / "twelve_mask.png"))
    wrong = run("predict", built, tmp_path / "twelve.png", "-o", tmp_path, "--bits", 10).error()
    assert "twelve.png holds the value" in wrong and "--bits 12" in wrong


def test_a_video_is_h264_with_the_times_of_its_source(run: Run, built: Path, tmp_path: Path) -> None:
    times = run("predict", built, "synthetic:1", "-o", tmp_path, "--limit", 5, "--json").json
    with av.open(times["outputs"][0]) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        found = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert np.allclose(found, np.arange(5) / 25, atol=1e-4)


def test_the_fit_of_an_export_is_that_of_its_engines(run: Run, tmp_path: Path) -> None:
    assert run("export", "-o", tmp_path / "m.onnx", "--size", "128x160", "--fit", "crop", "--json").status == 0
    engine = run(
        "build", tmp_path / "m.onnx", "--precision", "fp32", "--target", "onnxruntime", "-o", tmp_path, "--json"
    )
    engine_path = Path(engine.json["engine"])
    assert run("inspect", engine_path, "--json").json["manifest"]["model"]["fit"] == "crop"
    cv2.imwrite(str(tmp_path / "wide.png"), render_scene(2, (128, 320))[0])
    assert run("predict", engine_path, tmp_path / "wide.png", "-o", tmp_path).status == 0
    mask = read_label(tmp_path / "wide_mask.png")
    # CamVid's ignore index stands to both sides of what the crop saw.
    assert mask.shape == (128, 320)
    assert np.all(mask[:, :80] == 11) and np.all(mask[:, 240:] == 11)
    assert np.mean(mask[:, 80:240] == 11) == 0
    assert "fit 'pad' is unknown" in run("export", "-o", tmp_path / "n.onnx", "--fit", "pad").error()


def test_a_stream_is_recorded_and_its_password_is_nowhere(run: Run, built: Path, tmp_path: Path) -> None:
    with MjpegServer(user="root:hunter2") as server:
        address = server.address.replace("//", "//root:hunter2@")
        outcome = run("predict", built, address, "-o", tmp_path, "--limit", 5, "--json")
        plain = run("predict", built, server.address, "-o", tmp_path).error()
        rated = run("predict", built, address, "-o", tmp_path, "--rate", 30).error()
    assert outcome.status == 0
    assert outcome.json["source"] == server.address.replace("//", "//***@")
    assert outcome.json["frames"] == 5
    assert outcome.json["outputs"] == [str(tmp_path / "127.0.0.1_overlay.mp4")]
    with av.open(outcome.json["outputs"][0]) as container:
        assert len(list(container.decode(video=0))) == 5
    assert "401 unauthorized" in plain
    assert "--rate means nothing for" in rated
    assert "hunter2" not in outcome.out + outcome.err + plain + rated


def test_files_are_played_in_other_ways(run: Run, built: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", 4)
    result = run(
        "predict", built, f"{folder}/street*.jpg", "-o", tmp_path / "out", "--skip", 1, "--flip", "h", "--json"
    )
    assert result.json["frames"] == 2
    written = sorted(path.name for path in (tmp_path / "out").glob("*_overlay.jpg"))
    assert written == ["street00_overlay.jpg", "street02_overlay.jpg"]
    wrong = run("predict", built, folder, "-o", tmp_path, "--camera-size", "1280").error()
    assert "--camera-size 1280 is not WIDTHxHEIGHT" in wrong
