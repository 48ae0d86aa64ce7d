"""What is read of a CPU and a GPU, and which features an engine relies on."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from edgefsa import machine as device

XEON = """processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8481C
flags\t\t: fpu avx2 avx512f avx512_vnni avx_vnni avx512_bf16 avx512_fp16 amx_bf16 amx_tile amx_int8

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ORIN = """processor\t: 0
Features\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41

Model\t\t: NVIDIA Jetson Orin Nano
"""


@pytest.fixture
def read(tmp_path: Path) -> object:
    def from_text(text: str) -> device.Cpu:
        (tmp_path / "cpuinfo").write_text(text)
        return device.cpu(tmp_path / "cpuinfo")

    return from_text


def test_an_x86_cpu(read) -> None:
    found = read(XEON)
    assert found.name == "Intel(R) Xeon(R) Platinum 8481C"
    assert set(found.features) == {
        *("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16"),
        *("amx_bf16", "amx_tile", "amx_int8"),
    }


def test_an_arm_cpu(read) -> None:
    found = read(ORIN)
    assert found.name == "NVIDIA Jetson Orin Nano"
    assert set(found.features) == {"asimd", "asimdhp", "asimddp"}


def test_a_system_without_cpuinfo(tmp_path: Path) -> None:
    found = device.cpu(tmp_path / "nothing")
    assert found.features == () and found.architecture == platform.machine()


@pytest.mark.parametrize(
    ("text", "types", "kernels", "expected"),
    [
        (XEON, ["int8", "f32"], ["brgconv_avx512_I8"], ["avx512_vnni"]),
        (XEON, ["int8", "f32"], ["brgconv_avx512_amx_I8"], ["avx512_vnni", "amx_int8"]),
        (XEON, ["bf16"], ["brgconv_avx512_amx_bf16"], ["avx512_bf16", "amx_bf16"]),
        (XEON, ["f32"], ["brgconv_avx512_f32"], []),
        (ORIN, ["int8"], ["gemm_acl_I8"], ["asimddp"]),
        (ORIN, ["f16"], ["gemm_acl_f16"], ["asimdhp"]),
        ("flags : fpu avx2", ["int8"], ["jit_avx2_I8"], []),
    ],
)
def test_features_that_an_engine_relies_on(
    read, text: str, types: list[str], kernels: list[str], expected: list[str]
) -> None:
    assert device.features_relied_on(types, kernels, read(text)) == expected


@pytest.mark.parametrize(
    ("environment", "features", "exact"),
    [
        ({}, None, True),
        ({"ONEDNN_MAX_CPU_ISA": ""}, None, True),
        ({"ONEDNN_MAX_CPU_ISA": "default"}, None, True),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}, None, True),
        ({"ONEDNN_MAX_CPU_ISA": "SSE41"}, (), False),
        ({"ONEDNN_MAX_CPU_ISA": "AVX2"}, ("avx2",), False),
        ({"DNNL_MAX_CPU_ISA": "avx2"}, ("avx2",), False),
        ({"ONEDNN_MAX_CPU_ISA": "AVX2_VNNI", "DNNL_MAX_CPU_ISA": "AVX2"}, ("avx2", "avx_vnni"), True),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, ("avx2", "avx512f"), False),
        ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}, ("avx2", "avx512f", "avx512_vnni"), True),
        (
            {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_FP16"},
            ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
            True,
        ),
    ],
)
def test_the_part_of_a_cpu_that_onednn_uses(
    read, environment: dict[str, str], features: tuple[str, ...] | None, exact: bool
) -> None:
    whole = read(XEON)
    found = device.cpu_of_onednn(whole, environment)
    if features is None:
        assert found == whole
    else:
        assert found.features == features
        name, value = next(iter(environment.items()))
        assert found.name == f"{whole.name}, {name}={value}"
    assert device.sums_in_32_bits(found) is exact


@pytest.mark.parametrize(("text", "exact"), [(ORIN, True), ("Features : fp asimd", False), ("", False)])
def test_arm_and_unknown_cpus_sum_in_32_bits_where_they_say_so(read, text: str, exact: bool) -> None:
    assert device.sums_in_32_bits(read(text)) is exact


@pytest.mark.parametrize("integrated", [False, True])
def test_gpus_are_those_of_the_driver(integrated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        """libcuda.so.1 with one RTX 4060."""

        def cuInit(self, flags: int) -> int:  # noqa: N802
            return 0

        def cuDeviceGetCount(self, count) -> int:  # noqa: N802
            count._obj.value = 1
            return 0

        def cuDeviceGet(self, found, index: int) -> int:  # noqa: N802
            found._obj.value = index
            return 0

        def cuDeviceGetName(self, name, size: int, index) -> int:  # noqa: N802
            name.value = b"NVIDIA GeForce RTX 4060"
            return 0

        def cuDeviceGetAttribute(self, value, attribute: int, index) -> int:  # noqa: N802
            value._obj.value = {18: int(integrated), 75: 8, 76: 9}[attribute]
            return 0

        def cuDeviceTotalMem_v2(self, size, index) -> int:  # noqa: N802
            size._obj.value = 8 << 30
            return 0

        def cuDeviceGetPCIBusId(self, bus, size: int, index) -> int:  # noqa: N802
            bus.value = b"0000:01:00.0"
            return 0

    device.gpus.cache_clear()
    monkeypatch.setattr(device, "_cuda_driver", Driver)
    assert device.gpus() == (device.Gpu("NVIDIA GeForce RTX 4060", "8.9", 8192, "0000:01:00.0", integrated),)
    device.gpus.cache_clear()
    monkeypatch.setattr(device, "_cuda_driver", lambda: None)
    assert device.gpus() == ()
    device.gpus.cache_clear()
