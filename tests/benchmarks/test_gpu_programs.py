"""The programs that on_gpu.sh runs beside the tests, without a GPU: on a CPU, and with stand-ins for CuPy and ncu."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from edgefsa.models import FrequencySelfAttention
from edgefsa.models.formulas import spectral_mask

Program = Callable[[str], ModuleType]
SIZE = (32, 64)


def small_network(name: str) -> torch.nn.Module:
    conv, classifier = torch.nn.Conv2d(3, 16, 3, stride=4), torch.nn.Conv2d(16, 5, 1)
    return torch.nn.Sequential(conv, FrequencySelfAttention(16, k=4), classifier)


@pytest.fixture
def networks(program: Program, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program with this CPU in place of a GPU, a clock that stands still, and a small network."""
    module = program("networks_on_gpu")
    monkeypatch.setattr(module, "create_model", small_network)
    monkeypatch.setattr(module, "TRAINED", ())
    monkeypatch.setattr(module, "DEVICE", "cpu")
    monkeypatch.setattr(module, "SIZE_HW", SIZE)
    monkeypatch.setattr(module, "captured", lambda call: call)
    monkeypatch.setattr(module, "cold_medians_ms", lambda calls, rounds: dict.fromkeys(calls, 1.0))
    monkeypatch.setattr(module, "gpu_description", dict)
    monkeypatch.setattr(torch, "compile", lambda call, **_: call)  # compiling a network takes longer than all else
    return module


def test_a_network_is_measured_in_four_forms(networks: ModuleType, tmp_path: Path) -> None:
    output = tmp_path / "networks.json"
    assert networks.main(["--networks", "fsanet-edge", "--output", str(output)]) == 0
    record = json.loads(output.read_text())
    (row,) = record["rows"]
    assert record["is_complete"] and tuple(row["forms"]) == networks.FORMS and not record["wrong"]
    for form in row["forms"].values():
        assert form["median_ms"] == 1.0 and form["relative_l2"] < 2e-2 and form["same_classes"] > 0.999


def test_wrong_kernels_are_another_status_and_a_form_that_fails_leaves_its_reason(
    networks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(networks, "use_kernels", lambda model, size: model.pop(1))
    output = tmp_path / "networks.json"
    assert networks.main(["--networks", "fsanet-edge", "--output", str(output)]) == 3
    record = json.loads(output.read_text())
    assert record["rows"][0]["forms"]["torch.compile"]["failed"] == "RuntimeError: no compiler"
    (wrong,) = record["wrong"]
    assert wrong.startswith("fsanet-edge, kernels: relative L2")


def test_an_untrained_network_has_an_attention_that_adds_something(networks: ModuleType) -> None:
    assert bool((networks.network_of("fsanet-r50")[1].gain == 1).all())
    assert not bool(small_network("fsanet-r50")[1].gain.any())


class FakeCupy:
    """Plays CuPy: a kernel's function computes the operator in PyTorch, off by `offset`."""

    def __init__(self, kernels: dict[str, dict[str, Any]], offset: float = 0.0) -> None:
        self.kernels, self.offset, self.launches = kernels, offset, []
        self.cuda = SimpleNamespace(runtime=SimpleNamespace(deviceSynchronize=lambda: None))
        self.asarray, self.asnumpy = np.array, np.asarray

    def RawModule(self, code: str) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(get_function=lambda name: functools.partial(self._launch, self.kernels[code]))

    def _launch(self, kernel: dict[str, Any], grid: Any, block: Any, arguments: Any, shared_mem: int) -> None:
        *inputs, batch, output = arguments
        self.launches.append((grid, block, shared_mem, int(batch)))
        x, *weights = (torch.from_numpy(item).float() for item in inputs)
        if kernel["operator"] == "SpectralMask":
            output[:] = spectral_mask(x, *weights).numpy() + self.offset
        else:
            large = torch.nn.functional.interpolate(x, output.shape[1:], mode="bilinear")
            output[:] = large.argmax(1).numpy() + int(self.offset)


LAUNCH = {"name": "kernel", "grid": [16, 2, 1], "block": [128, 1], "shared_bytes": 512}
MASK = {**LAUNCH, "ptx": "a", "operator": "SpectralMask", "dtype": "float32", "shape": [3, 5, 13, 17], "batch_axis": 0}
ARGMAX = {
    **{**LAUNCH, "ptx": "b", "operator": "UpsampleArgmax", "dtype": "float16", "shape": [2, 6, 8, 12]},
    **{"size_hw": [16, 24], "indices": "float16", "batch_axis": 1},
}


@pytest.mark.parametrize(("offset", "status"), [(0.0, 0), (1.0, 3)])
def test_kernels_of_engines_are_launched_from_their_facts(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: float, status: int
) -> None:
    module, fake = program("aot_on_gpu"), FakeCupy({"a": MASK, "b": ARGMAX}, offset)
    monkeypatch.setattr(module, "require_cupy", lambda: fake)
    for name, kernel in (("mask", MASK), ("argmax", ARGMAX)):
        (tmp_path / f"{name}.json").write_text(json.dumps(kernel))
    output = tmp_path / "out" / "aot.json"
    assert module.main([str(tmp_path), "--output", str(output)]) == status
    assert fake.launches == [((16, 4, 1), (128, 1, 1), 512, 2), ((48, 2, 1), (128, 1, 1), 512, 3)]
    assert {name: result["is_right"] for name, result in json.loads(output.read_text()).items()} == dict.fromkeys(
        ("argmax", "mask"), status == 0
    )
    assert module.main([str(tmp_path / "none")]) == 2


def test_without_cupy_or_a_gpu_the_kernels_of_engines_are_not_run(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    with pytest.raises(SystemExit) as left:
        program("aot_on_gpu").main([str(tmp_path)])
    assert left.value.code == 2 and capsys.readouterr().err.count("\n") == 1


# As ncu's option --csv lays metrics out: one row for each metric of each launch.
NCU = """==PROF== Connected to process 1
==PROF== Disconnected from process 1
"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device","CC",\
"Section Name","Metric Name","Metric Unit","Metric Value"
"0","1","python","host","{dct}","1","7","(256, 1, 1)","(4, 1, 1)","0","9.0","Metrics","dram__bytes_read.sum","Mbyte","16.8"
"0","1","python","host","{dct}","1","7","(256, 1, 1)","(4, 1, 1)","0","9.0","Metrics","dram__bytes_write.sum","byte","1,280"
"1","1","python","host","{sums}","1","7","(256, 1, 1)","(4, 1, 1)","0","9.0","Metrics","dram__bytes_read.sum","Kbyte","2.5"
"1","1","python","host","{sums}","1","7","(256, 1, 1)","(4, 1, 1)","0","9.0","Metrics","dram__bytes_write.sum","byte","0"
"2","1","python","host","{mask}","1","7","(256, 1, 1)","(4, 1, 1)","0","9.0","Metrics","dram__bytes_read.sum","Gbyte","0.5"
"""  # noqa: E501
NAMES = {
    "dct": "void edgefsa::<unnamed>::dctHalvesKernel<__half, (int)8, (int)1>(edgefsa::DctArguments)",
    "sums": "edgefsa::<unnamed>::sumSplitsKernel(const float *, float *, int, int, int)",
    "mask": "void edgefsa::spectral_mask::spectralMaskKernel<__half, (int)8>(edgefsa::spectral_mask::Work)",
}


def test_the_counted_bytes_of_a_kernels_launches_are_added_up(program: Program) -> None:
    module = program("dram_on_gpu")
    rows = {row["kernel"]: row for row in module.summary(module.counted(NCU.format(**NAMES)), "1x64x256x512")}
    assert set(rows) == {"truncated DCT", "spectral mask"}
    transform = rows["truncated DCT"]
    assert (transform["read"], transform["written"], transform["launches"]) == (16.8e6 + 2500, 1280, 2)
    assert transform["has_to_move"] == 64 * 256 * 512 * 2
    assert rows["spectral mask"]["read"] == 5e8


def test_counters_that_cannot_be_read_are_said(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ncu = tmp_path / "ncu"
    ncu.write_text("#!/bin/sh\necho '==ERROR== Failed to initialize the profiler: LibraryNotLoaded'\nexit 1\n")
    ncu.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert program("dram_on_gpu").main(["--library", "kernels.so"]) == 2
    assert "Failed to initialize the profiler" in capsys.readouterr().err
