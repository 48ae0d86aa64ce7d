"""What the addresses answer, and what viewers' wishes do to the run."""

from __future__ import annotations

import io
import time

import av
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgefsa.errors import InputError, OutputError
from edgefsa.machine.telemetry import Sample
from edgefsa.segment.run import CanaryFigures
from edgefsa.serve import ServeSink, recordings
from edgefsa.serve.recordings import Recordings
from tests.unit.serve.harness import Live, next_frame, serving, wait_until


class Machine:
    """A telemetry that is at 21 W and 61.5 degrees."""

    def latest(self) -> Sample:
        return Sample(0.0, power_w=21.0, temperature_c=61.5, throttled=True, power_of="VDD_IN")


def metrics_of(live: Live) -> dict[tuple[str, str], float]:
    """Read /metrics by Prometheus' own parser: (name, values of the labels) -> value."""
    with live.client() as client:
        text = client.get("/metrics").text
    return {
        (sample.name, ",".join(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_the_figures(live: Live) -> None:
    for _ in range(12):
        live.feed()
    live.run.statistics.count_dropped(3)
    live.run.statistics.count_reconnect()
    live.run.statistics.count_skipped("video", 2)
    live.run.telemetry = Machine()  # type: ignore[assignment]
    live.run.canary = CanaryFigures(frames=4, last=0.99, mean=0.98, lowest=0.97, below=1, bound=0.975)
    with live.socket() as viewer:
        next_frame(viewer)
        found = metrics_of(live)
    expected = {
        ("edgefsa_frames_captured_total", ""): 12,
        ("edgefsa_frames_total", ""): 12,
        ("edgefsa_frames_dropped_total", ""): 3,
        ("edgefsa_reconnects_total", ""): 1,
        ("edgefsa_frames_skipped_total", "video"): 2,
        ("edgefsa_viewers", ""): 1,
        ("edgefsa_paused", ""): 0,
        ("edgefsa_engine", "first,fake-net,fp32,fake"): 1,
        ("edgefsa_engine", "second,fake-net,fp32,fake"): 0,
        ("edgefsa_stage_seconds_bucket", "0.002,engine"): 0,
        ("edgefsa_stage_seconds_bucket", "0.01,engine"): 7,  # the first five are warm-up
        ("edgefsa_stage_seconds_bucket", "+Inf,engine"): 7,
        ("edgefsa_power_watts", ""): 21,
        ("edgefsa_temperature_celsius", ""): 61.5,
        ("edgefsa_canary_agreement", "last"): 0.99,
        ("edgefsa_canary_agreement", "lowest"): 0.97,
        ("edgefsa_canary_frames_total", ""): 4,
        ("edgefsa_canary_frames_below_total", ""): 1,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert found["edgefsa_stage_seconds_count", "engine"] == 7
    mean_s = found["edgefsa_stage_seconds_sum", "camera_to_mask"] / 7
    assert mean_s == pytest.approx(0.0075, rel=0.02)
    assert found["edgefsa_stage_quantile_seconds", "0.95,camera_to_mask"] == pytest.approx(0.0075, rel=0.02)
    assert found["edgefsa_fps", ""] > 0


def test_what_nothing_measures_is_left_out(live: Live) -> None:
    live.feed()
    names = {name for name, _ in metrics_of(live)}
    assert not any("power" in name or "temperature" in name or "canary" in name for name in names)


def test_two_servers_in_one_process_have_figures_of_their_own(live: Live) -> None:
    with serving() as other:
        live.feed()
        assert metrics_of(live)["edgefsa_frames_total", ""] == 1
        assert metrics_of(other)["edgefsa_frames_total", ""] == 0


def test_health_follows_the_frames() -> None:
    with serving(stale_s=0.3) as live, live.client() as client:
        answer = client.get("/healthz")
        assert (answer.status_code, answer.json()["reason"]) == (503, "no frame has come yet")
        live.feed()
        assert (answer := client.get("/healthz")).status_code == 200 and answer.json()["status"] == "ok"
        time.sleep(0.4)
        answer = client.get("/healthz")
        assert answer.status_code == 503 and answer.json()["reason"].startswith("no frame for 0.")
        live.run.pause()
        assert client.get("/healthz").json() == {"status": "paused"}


def test_there_are_no_pictures_before_the_first_frame(live: Live) -> None:
    with live.client() as client:
        assert {client.get(path).status_code for path in ("/snapshot.jpg", "/mask.png", "/frame.jpg")} == {503}


def test_viewers_pause_and_switch_and_all_of_them_see_it(live: Live) -> None:
    live.feed()
    with live.client() as client, live.socket() as viewer:
        next_frame(viewer)
        assert client.post("/api/pause", json={"paused": True}).json()["paused"]
        wait_until(lambda: '"paused": true' in str(answered(viewer)))
        assert client.post("/api/pause", json={"paused": False}).json()["paused"] is False
        assert client.post("/api/engine", json={"engine": "second"}).json()["engine"] == "second"
        live.feed()
        assert next_frame(viewer).engine == 1
    assert not live.run.paused


def answered(viewer: object) -> object:
    data = viewer.recv(timeout=20)
    viewer.send("")
    return data


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("/api/engine", {"engine": "third"}, "no engine named third"),
        ("/api/engine", {"engine": 3}, "a text"),
        ("/api/pause", {"paused": 1}, "true or false"),
        ("/api/pause", ["paused"], "true or false"),
        ("/api/pause", {}, "true or false"),
    ],
)
def test_a_wish_that_makes_no_sense_is_said(live: Live, path: str, value: object, words: str) -> None:
    with live.client() as client:
        answer = client.post(path, json=value)
    assert answer.status_code == 400 and words in answer.json()["error"]


def test_a_clip_is_recorded_downloaded_and_read_in_part(live: Live) -> None:
    with live.client() as client, live.feeding(0.02):
        started = client.post("/api/recording", json={"recording": True}).json()["recording"]
        assert started["seconds"] is not None and started["clips"] == []
        again = client.post("/api/recording", json={"recording": True})
        assert again.status_code == 400 and "under way" in again.json()["error"]
        begin = live.fed
        wait_until(lambda: live.fed > begin + 20)
        stopped = client.post("/api/recording", json={"recording": False}).json()["recording"]
        [clip] = stopped["clips"]
        whole = client.get(f"/recordings/{clip['id']}.mp4")
        part = client.get(f"/recordings/{clip['id']}.mp4", headers={"Range": "bytes=100-199"})
        saved = client.get(f"/recordings/{clip['id']}.mp4?download")
    assert (whole.status_code, whole.headers["content-type"], len(whole.content)) == (200, "video/mp4", clip["bytes"])
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert saved.headers["content-disposition"] == f'attachment; filename="{clip["name"]}"'
    with av.open(io.BytesIO(whole.content)) as video:
        frames = [frame.to_ndarray(format="bgr24") for frame in video.decode(video=0)]
    assert len(frames) > 5 and frames[0].shape == (48, 64, 3)
    assert len({frame.tobytes() for frame in frames}) > 3


def test_a_clip_that_is_under_way_is_complete_when_the_run_ends(tmp_path) -> None:
    with serving(recordings=tmp_path) as live, live.client() as client:
        client.post("/api/recording", json={"recording": True})
        for _ in range(5):
            live.feed()
            time.sleep(0.02)
    [path] = tmp_path.iterdir()
    assert live.sink.outputs == [path]
    with av.open(str(path)) as video:
        assert sum(1 for _ in video.decode(video=0)) >= 1


def test_a_clip_ends_by_itself(live: Live, tmp_path) -> None:
    clips = Recordings(tmp_path, live.sink.style, longest_s=0.2)
    clips.start(live.run)
    end_s = time.monotonic() + 20
    while clips.state()["seconds"] is not None:
        assert time.monotonic() < end_s
        clips.write(live.feed())
        time.sleep(0.01)
    assert len(clips.state()["clips"]) == len(clips.written) == 1


def test_a_full_disk_begins_no_clip(live: Live, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "_FREE_BYTES", 1 << 60)
    with live.client() as client:
        answer = client.post("/api/recording", json={"recording": True})
    assert answer.status_code == 400 and "MB free" in answer.json()["error"]
    assert list(tmp_path.iterdir()) == []


def test_a_clip_that_cannot_be_written_is_lost_and_the_run_goes_on(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> bool:
        raise OutputError("cannot write x.mp4: no space left on device; free space")

    with live.client() as client:
        client.post("/api/recording", json={"recording": True})
        monkeypatch.setattr("edgefsa.segment.sinks.Recorder.write", full)
        live.feed()
        figures = client.get("/api/figures").json()
        assert figures["recording"] == {"seconds": None, "clips": []}
        assert figures["notes"] == [live.notes[-1]] and "the recording is lost: cannot write" in live.notes[-1]
        live.feed()
        assert client.get("/healthz").status_code == 200


def test_without_a_folder_there_are_no_recordings() -> None:
    with serving() as live, live.client() as client:
        assert client.get("/api/figures").json()["recording"] is None
        assert client.post("/api/recording", json={"recording": True}).status_code == 400
        assert client.get("/recordings/x.mp4").status_code == 404


def test_the_server_stops_with_its_viewers_and_its_port_is_free_again() -> None:
    with serving() as live, live.socket() as viewer:
        live.feed()
        next_frame(viewer)
        port = live.sink.port
        live.sink.__exit__(None, None, None)
        with pytest.raises(Exception, match=r"1012|no close frame"):
            while True:
                viewer.recv(timeout=20)
    with ServeSink(port=port) as again:
        assert again.port == port


def test_a_port_that_is_taken_or_none_is_said(live: Live) -> None:
    with (
        pytest.raises(InputError, match=f"cannot serve on 127.0.0.1:{live.sink.port}: .*in use"),
        ServeSink(port=live.sink.port),
    ):
        pass
    with pytest.raises(InputError, match="port 70000 does not exist"), ServeSink(port=70000):
        pass
    with pytest.raises(InputError, match=r"no\.such\.host\.invalid is no address"):
        ServeSink(host="no.such.host.invalid")


@pytest.mark.parametrize("options", [{"view_size": 0}, {"max_fps": -1.0}, {"stale_s": float("inf")}])
def test_limits_that_limit_nothing_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="give more than 0"):
        ServeSink(port=0, **options)
