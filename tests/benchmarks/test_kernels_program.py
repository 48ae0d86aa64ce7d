"""benchmarks/kernels.py from end to end without a GPU: on the emulated kernels, a small map and a CPU's clock."""

from __future__ import annotations

import functools
import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from edgefsa.kernels.launchers import Kernels
from tests.kernels.emulation.build import PLUGINS, build_launchers, compiler, objects_folder

BENCHMARKS = PLUGINS.parent / "benchmarks"
SHAPE = (2, 8, 8, 8)
SMALL = "2x8x8x8"


class Event:
    """Tells the time as torch.cuda.Event does."""

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing
        self.seconds = 0.0

    def record(self) -> None:
        self.seconds = time.perf_counter()

    def synchronize(self) -> None:
        assert self.seconds

    def elapsed_time(self, end: Event) -> float:
        return 1000 * (end.seconds - self.seconds)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """The kernels under the names that the benchmark calls, for the host."""
    if compiler() is None:
        pytest.skip("needs g++ to compile the kernels for the host; there is none on the PATH")
    return build_launchers(objects_folder(), tmp_path_factory.mktemp("launchers"))


@pytest.fixture
def gpu(monkeypatch, program) -> None:
    """A GPU that is this CPU, and a map that is small."""
    sizes = program("_kernel_sizes")
    timing = program("_gpu")
    properties = SimpleNamespace(
        name="CPU 0", major=9, minor=0, multi_processor_count=4, total_memory=1 << 30, L2_cache_size=1 << 10
    )
    for name, value in (
        ("current_device", lambda: 0),
        ("get_device_properties", lambda device: properties),
        ("current_stream", lambda: SimpleNamespace(cuda_stream=0)),
        ("mem_get_info", lambda: (1 << 20, 1 << 20)),
        ("synchronize", lambda: None),
        ("_sleep", lambda cycles: None),
        ("Event", Event),
    ):
        monkeypatch.setattr(torch.cuda, name, value)
    for module in (timing, program("_kernel_cases")):
        monkeypatch.setattr(module, "DEVICE", "cpu")
    monkeypatch.setattr(timing, "SCRUB_BYTES", 1 << 10)
    monkeypatch.setattr(timing, "WARMUP", 0)
    monkeypatch.setattr(program("kernels"), "require_cuda", lambda: torch)
    monkeypatch.setattr(program("kernels"), "sizes", lambda: [sizes.Size(*SHAPE)])
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))


def run(program, library: Path, output: Path, *arguments: str) -> tuple[int, dict]:
    given = ["--rounds", "1", "--library", str(library), "--output", str(output), *arguments]
    return program("kernels").main(given), json.loads(output.read_text())


def test_every_kernel_and_every_form_is_measured(gpu, program, library: Path, tmp_path: Path, capsys) -> None:
    status, record = run(program, library, tmp_path / "kernels.json", "--compile-at", SMALL)
    sizes = program("_kernel_sizes")
    assert status == 0 and record["is_complete"]
    (row,) = record["rows"]
    assert row["shape"] == list(SHAPE) and not row["not_measured"] and not record["wrong"]
    expected = {
        (name, variant.label): moved
        for variant in sizes.MAP_VARIANTS
        for name, moved in sizes.bytes_moved(sizes.Size(*SHAPE), variant).items()
    }
    assert {(item["kernel"], item["variant"]): item["bytes"] for item in row["kernels"]} == expected
    forms = {form for item in row["kernels"] for form in item["times_faster"]}
    assert forms >= {"dense PyTorch", "separable, torch.compile", "torch.fft", "interpolate and argmax"}
    assert all(item["median_ms"] > 0 and item["equal_copy_ms"] > 0 for item in row["kernels"])
    # Two for the attention and one for the mask; shares are asked for at batch 1 and 8.
    assert len(record["targets"]) == 3
    printed = capsys.readouterr().out
    for target in record["targets"]:
        assert target["target"] in printed
    assert "3 targets are" in printed


def test_check_fails_where_a_target_is_missed(gpu, program, library: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(program("kernels"), "sizes", lambda: [program("_kernel_sizes").Size(1, *SHAPE[1:])])
    monkeypatch.setattr(program("_gpu"), "cold_medians_ms", lambda calls, rounds: dict.fromkeys(calls, 1.0))
    status, record = run(program, library, tmp_path / "kernels.json", "--check")
    assert status == 1
    reached = {target["target"] for target in record["targets"] if target["is_reached"]}
    assert reached == {"share of an equal copy's speed"}

    # Forms twenty times slower than the kernels, whose copies take half as long as they do.
    def slow(calls, rounds: int) -> dict[str, float]:
        return {name: 20.0 if ": " in name else 0.5 if name.startswith("copy") else 1.0 for name in calls}

    monkeypatch.setattr(program("_gpu"), "cold_medians_ms", slow)
    status, record = run(program, library, tmp_path / "kernels.json", "--check")
    assert status == 1
    assert {target["reached"] for target in record["targets"] if not target["is_reached"]} == {0.5}


def test_a_wrong_result_is_another_status_than_a_missed_target(
    gpu, program, library: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(program("_kernel_cases"), "spectral_mask", lambda x, **weights: 1.1 * x)
    status, record = run(program, library, tmp_path / "kernels.json")
    assert status == 3
    wrong = [item["kernel"] for item in record["rows"][0]["kernels"] if item["error"] > item["largest_error"]]
    assert wrong == ["spectral mask"] * 3
    assert capsys.readouterr().out.count("WRONG: spectral mask") == 3 == len(record["wrong"])


def test_what_was_measured_stays_where_a_later_size_fails(
    gpu, program, library: Path, tmp_path: Path, monkeypatch
) -> None:
    sizes, measure = program("_kernel_sizes"), program("kernels").measure_size
    large = sizes.Size(8, *SHAPE[1:])

    def fails(kernels, size, rounds: int, is_compiled: bool) -> dict:
        if size == large:
            raise RuntimeError("out of memory")
        return measure(kernels, size, rounds, is_compiled)

    monkeypatch.setattr(program("kernels"), "sizes", lambda: [sizes.Size(*SHAPE), large])
    monkeypatch.setattr(program("kernels"), "measure_size", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(program, library, tmp_path / "kernels.json")
    record = json.loads((tmp_path / "kernels.json").read_text())
    assert [row["shape"][0] for row in record["rows"]] == [2] and not record["is_complete"]


def test_a_form_that_cannot_run_does_not_stop_the_rest(
    gpu, program, library: Path, tmp_path: Path, monkeypatch
) -> None:
    def without_compiler(*_: object, **__: object) -> object:
        def call(*_: object, **__: object) -> None:
            raise RuntimeError("no triton here")

        return call

    monkeypatch.setattr(torch, "compile", without_compiler)
    status, record = run(program, library, tmp_path / "kernels.json", "--check", "--compile-at", SMALL)
    assert status == 1
    (row,) = record["rows"]
    name = "attention block, FP16 linear: separable, torch.compile"
    assert row["not_measured"] == {name: "RuntimeError: no triton here"}
    (target,) = [item for item in record["targets"] if "separable" in item["target"]]
    assert target["reached"] is None and not target["is_reached"]


def test_the_forms_compute_what_the_kernels_do(gpu, program) -> None:
    """In PyTorch alone: each form against the formula, where it computes the same."""

    class NoKernels:
        def params(self, name: str, **values: object) -> None: ...
        def workspace_bytes(self, name: str, params: None) -> int:
            return 0

    with torch.inference_mode():
        for case in program("_kernel_cases").cases(NoKernels(), program("_kernel_sizes").Size(1, 6, 12, 16), True):
            for form in case.forms.values():
                found, wanted = form(), case.wanted()
                if wanted.is_floating_point():
                    assert float((found.float() - wanted).norm() / wanted.norm()) < 5e-3
                else:
                    assert float((found == wanted).float().mean()) > 0.95  # in FP16, classes at borders differ


def test_a_profiler_sees_each_kernel_once(gpu, program, library: Path, monkeypatch) -> None:
    launched = []
    monkeypatch.setattr(Kernels, "launch", lambda self, name, params, workspace=0, stream=0: launched.append(name))
    assert program("kernels").main(["--library", str(library), "--once", SMALL]) == 0
    assert launched == ["TruncatedDct", "InverseDct", "SpectralMask", *["UpsampleArgmax"] * 2]


def test_a_library_that_is_not_there_is_told(gpu, program, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        program("kernels").main(["--library", str(tmp_path / "none.so")])
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("error: there is no library at")
