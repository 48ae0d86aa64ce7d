"""The steps of the self-check, each a function: `python -m edgefsa.deploy.selftest_steps STEP FOLDER SECONDS` runs one.

FOLDER is shared by the steps: model.onnx, ranges.json where there are some, and the engines that were built.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefsa.artifacts import Manifest, write_json
from edgefsa.deploy.selftest import FAILED, PASSED, SKIPPED
from edgefsa.engines.names import RANGES_NAME, SOURCE_NAME
from edgefsa.errors import EdgeFsaError, TargetError

if TYPE_CHECKING:
    from edgefsa.segment import FrameSource

ENGINES = "engines"
CAMERA_FRAMES = 30
_MODEL = "fsanet-edge"


class SkippedError(Exception):
    """Why a step means nothing on this machine."""


def doctor(folder: Path, seconds: float) -> dict[str, Any]:
    """Examine the machine; findings that are problems are in the result, and no failure of the check."""
    from edgefsa.deploy.doctor import doctor as examine

    return examine()


def telemetry(folder: Path, seconds: float) -> dict[str, Any]:
    """Sample an idle machine for some seconds."""
    from edgefsa.machine.telemetry import open_telemetry

    with open_telemetry(0.5) as sampled:
        start_s = time.monotonic()
        time.sleep(min(6.0, seconds / 2))
        window = sampled.window(start_s)
    found = window.as_dict()
    unread = sorted(name for name, value in found.items() if value is None)
    return {"idle": found, "measures_power": window.power_w is not None, "not_read": unread}


def power_modes(folder: Path, seconds: float) -> dict[str, Any]:
    """List the board's power modes; none is switched to."""
    from edgefsa.machine import nvpmodel

    modes, current = nvpmodel.power_modes(), nvpmodel.current_power_mode()
    if not modes and current is None:
        raise SkippedError("this machine has no power modes of nvpmodel: it is no Jetson")
    return {"modes": [asdict(mode) for mode in modes], "current": asdict(current) if current else None}


def model(folder: Path, seconds: float) -> dict[str, Any]:
    """Check the ONNX file that was named, or export one where torch is."""
    from edgefsa.build import ModelRequest, export_model
    from edgefsa.graph.files import load_graph, read_metadata, weights_hash

    path = folder / SOURCE_NAME
    if not path.exists():
        try:
            export_model(ModelRequest(_MODEL), path)
        except ModuleNotFoundError as error:
            raise SkippedError(f"no ONNX file was named, and none can be exported here without {error.name}") from None
    graph = load_graph(path)
    metadata = read_metadata(graph)
    kept = ("model", "size_hw", "batch", "outputs", "num_classes")
    return {**{name: metadata[name] for name in kept}, "weights_sha256": weights_hash(graph)}


def plugins(folder: Path, seconds: float) -> dict[str, Any]:
    """Build the plugin library for this TensorRT and this GPU, or take the one that was built before."""
    from edgefsa.engines.tensorrt.plugins.build import build_for_this_machine
    from edgefsa.engines.tensorrt.plugins.library import library_facts
    from edgefsa.machine import gpus

    _require_tensorrt()
    library = build_for_this_machine()
    return {"built": str(library.path), "in_use": library_facts(gpus()[0].compute_capability)}


def build_step(precision: str) -> Callable[[Path, float], dict[str, Any]]:
    """Return the step that builds an engine of a precision by the best target of this machine."""

    def build(folder: Path, seconds: float) -> dict[str, Any]:
        from edgefsa.engines import choose_target

        try:
            target, _ = choose_target(precision)
        except TargetError as error:
            raise SkippedError(str(error)) from None
        return _built(folder, precision, target, folder / ENGINES)

    return build


def golden(folder: Path, seconds: float) -> dict[str, Any]:
    """Open each engine with all its checks, and measure how many of the golden pixels it has right."""
    from edgefsa.engines import open_engine
    from edgefsa.engines.golden import golden_agreement

    found = {}
    for path in _engines(folder):
        with open_engine(path) as session:
            agreement = golden_agreement(session, path, session.manifest.golden)
            found[path.name] = {"agreement": agreement, "needed": session.manifest.golden["agreement"]}
    return found


def plugins_compared(folder: Path, seconds: float) -> dict[str, Any]:
    """Build INT8 engines with the plugin library, with kernels inside and with neither; compare masks and times."""
    from edgefsa.engines import open_engine
    from edgefsa.engines.golden import golden_agreement
    from edgefsa.verify.latency import bench_engines

    _require_tensorrt()
    built: dict[str, Path] = {}
    found: dict[str, dict[str, Any]] = {}
    for kind in ("none", "library", "kernels"):
        try:
            report = _built(folder, "int8", "tensorrt", folder / f"plugins-{kind}", plugins=kind)
        except EdgeFsaError as error:
            found[kind] = {"why_not": str(error)}
            continue
        built[kind] = folder / f"plugins-{kind}" / report["engine"]
        found[kind] = report
    if "none" not in built:
        raise EdgeFsaError(f"no engine without plugins was built to compare with: {found['none']['why_not']}")
    times = bench_engines(list(built.values()), rounds=50, warmup=5)
    for (kind, path), row in zip(built.items(), times, strict=True):
        found[kind] |= {"latency_ms": row["latency_ms"], "frame_to_mask_ms": row["frame_to_mask_ms"]}
        with open_engine(path) as session:
            bodies = built["none"]
            found[kind]["agreement_with_none"] = golden_agreement(session, bodies, _manifest(bodies).golden)
    if len(built) == 1:
        raise EdgeFsaError("; ".join(f"{kind}: {found[kind]['why_not']}" for kind in ("library", "kernels")))
    return found


def bench(folder: Path, seconds: float) -> dict[str, Any]:
    """Time the engines in turns, with the machine's power and temperature meanwhile."""
    from edgefsa.machine.telemetry import open_telemetry
    from edgefsa.verify.energy import INTERVAL_S
    from edgefsa.verify.latency import bench_engines

    engines = _engines(folder)
    with open_telemetry(INTERVAL_S) as sampled:
        rows = bench_engines(engines, rounds=30, warmup=5, seconds=seconds / 10, telemetry=sampled)
    return {Path(row["engine"]).name: {name: value for name, value in row.items() if name != "engine"} for row in rows}


def camera(folder: Path, seconds: float) -> dict[str, Any]:
    """Read some frames of each camera; no picture is kept. One that gives none fails the step."""
    names = _cameras()
    if not names:
        raise SkippedError("no camera is attached (V4L2 shows none)")
    found = {name: _read(name) for name in names}
    faults = [f"{name}: {row['error']}" for name, row in found.items() if "error" in row]
    if faults:
        raise EdgeFsaError("; ".join(faults))
    return found


def live(folder: Path, seconds: float) -> dict[str, Any]:
    """Run the pipeline on the first camera, else on rendered frames, for half of the time that the step has."""
    from edgefsa.machine.telemetry import open_telemetry
    from edgefsa.segment import Segmenter, open_sink, run_pipeline
    from edgefsa.segment.summary import run_summary

    engine = _engines(folder)[0]
    with (
        _live_source() as source,
        Segmenter(engine) as segmenter,
        open_sink("null") as sink,
        open_telemetry() as sampled,
    ):
        start_s = time.monotonic()
        report = run_pipeline(source, segmenter, [sink], duration_s=seconds / 2, telemetry=sampled)
        meanwhile = sampled.window(start_s).as_dict()
    if not report.statistics.frames:
        raise EdgeFsaError(f"no mask came of {source.name}")
    return {"engine": engine.name, "source": source.name, **run_summary(report), "meanwhile": meanwhile}


def view(folder: Path, seconds: float) -> dict[str, Any]:
    """Show a run to browsers of this machine until it answered for the page and for its health, as they ask."""
    from edgefsa.segment import Segmenter, run_pipeline
    from edgefsa.serve import ServeSink

    engine = _engines(folder)[0]
    try:
        sink = ServeSink(port=0)
    except EdgeFsaError as error:
        raise SkippedError(str(error)) from None
    with _live_source() as source, Segmenter(engine) as segmenter, sink:
        bound = {"duration_s": min(15.0, seconds / 2)}
        run = threading.Thread(target=run_pipeline, args=(source, segmenter, [sink]), kwargs=bound, daemon=True)
        run.start()
        found = _asked(sink.port, run)
        source.interrupt()
        run.join()
    if "healthz" not in found:
        raise EdgeFsaError("the live view was never healthy while frames came")
    return found


def _asked(port: int, run: threading.Thread) -> dict[str, Any]:
    """Ask the live view while it runs, until it is healthy."""
    found: dict[str, Any] = {}
    while run.is_alive() and len(found) < 2:
        for name, path in (("page", "/"), ("healthz", "/healthz")):
            address = f"http://127.0.0.1:{port}{path}"
            with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
                found[name] = answer.status
        time.sleep(0.2)
    return found


def _built(folder: Path, precision: str, target: str, output: Path, plugins: str | None = None) -> dict[str, Any]:
    """Build an engine into `output`; return what the build reports, with the engine by its name."""
    from edgefsa.build import BuildRequest, ModelRequest, build_from_request

    notes: list[str] = []
    ranges = folder / RANGES_NAME
    request = BuildRequest(
        source=str(_onnx(folder)),
        model=ModelRequest(),
        precision=precision,
        target=target,
        output=output,
        ranges=ranges if ranges.exists() and precision != "fp32" else None,
        target_options={} if plugins is None else {"plugins": plugins},
        overwrite=True,
    )
    report = build_from_request(request, say=notes.append)
    # Where the weights came from is a path of the machine that exported them.
    kept = {name: value for name, value in report.items() if name not in ("weights", "why")}
    return {**kept, "engine": Path(report["engine"]).name, "notes": notes}


def _onnx(folder: Path) -> Path:
    path = folder / SOURCE_NAME
    if not path.exists():
        raise SkippedError("there is no ONNX file to build from; name one: edgefsa selftest m.onnx")
    return path


def _engines(folder: Path) -> list[Path]:
    """Return the engines that were built and run here, INT8 before FP16 before FP32."""
    from edgefsa.engines.registry import target_of

    found = [path.parent for path in (folder / ENGINES).glob("*/manifest.json")]
    usable = [path for path in found if target_of(_manifest(path).target).unusable() is None]
    if not usable:
        raise SkippedError("no engine was built that runs on this machine")
    return sorted(usable, key=lambda path: ("int8", "fp16", "fp32").index(_manifest(path).precision))


def _manifest(engine: Path) -> Manifest:
    return Manifest.read(engine)


def _require_tensorrt() -> None:
    from edgefsa.engines.registry import target_of

    reason = target_of("tensorrt").unusable()
    if reason is not None:
        raise SkippedError(f"TensorRT runs no engine here: {reason}")


def _cameras() -> list[str]:
    """Return the sources of this machine's cameras."""
    from edgefsa.machine.cameras import cameras

    found = cameras()
    csi = [f"csi://{index}" for index, _ in enumerate(camera for camera in found if camera.kind == "csi")]
    return csi + [camera.device for camera in found if camera.kind != "csi"]


def _live_source() -> FrameSource:
    from edgefsa.segment import open_source
    from edgefsa.segment.sources import SourceOptions

    for name in _cameras():
        with contextlib.suppress(EdgeFsaError):
            return open_source(name)
    # At no rate: frames that keep one are all rendered before the first, which outlasts a step where none are cached.
    return open_source("synthetic:7", SourceOptions(loop=True))


def _read(name: str) -> dict[str, Any]:
    """Read frames of a camera; return their size and rate, or the error."""
    from edgefsa.segment import open_source

    begun = time.monotonic()
    try:
        with open_source(name) as source:
            frames = iter(source)
            height, width = next(frames).frame.shape[:2]
            first_s = time.monotonic() - begun
            for _ in range(CAMERA_FRAMES):
                next(frames)
            rate = CAMERA_FRAMES / (time.monotonic() - begun - first_s)
    except (EdgeFsaError, StopIteration) as error:
        return {"error": str(error) or "it gave too few frames"}
    return {"size_hw": [height, width], "first_frame_s": round(first_s, 2), "fps": round(rate, 1)}


STEPS: dict[str, Callable[[Path, float], dict[str, Any]]] = {
    "doctor": doctor,
    "telemetry": telemetry,
    "power-modes": power_modes,
    "model": model,
    "plugins": plugins,
    **{f"build-{precision}": build_step(precision) for precision in ("int8", "fp16", "fp32")},
    "golden": golden,
    "plugins-compared": plugins_compared,
    "bench": bench,
    "camera": camera,
    "live": live,
    "view": view,
}


def run_step(name: str, folder: Path, seconds: float) -> None:
    """Run a step and write its outcome: {"status", "reason", "result"}."""
    status, reason, result = PASSED, None, {}
    try:
        result = STEPS[name](folder, seconds)
    except SkippedError as why:
        status, reason = SKIPPED, str(why)
    except EdgeFsaError as error:
        status, reason = FAILED, str(error)
    except Exception as error:  # a fault of ours or of a package: said with where it arose
        where = traceback.extract_tb(error.__traceback__)[-1]
        status, reason = FAILED, f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    write_json(folder / "outcomes" / f"{name}.json", {"status": status, "reason": reason, "result": result})


if __name__ == "__main__":
    run_step(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
