"""Which bits INT8 weights get, by what the CPU can compute and by what was asked for."""

from __future__ import annotations

import pytest

from edgefsa import machine
from edgefsa.engines import target as target_module
from edgefsa.engines.registry import target_of
from edgefsa.engines.weights import WeightBits, choose_weight_bits
from edgefsa.errors import InputError

OLD = machine.Cpu("Old Processor", "x86_64", ("avx2", "avx512f"))
NEW = machine.Cpu("New Processor", "x86_64", ("avx2", "avx_vnni"))


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    return lambda here: monkeypatch.setattr(target_module, "cpu", lambda: here)


@pytest.mark.parametrize("target", ["openvino", "onnxruntime"])
def test_the_cpu_decides(on, target: str) -> None:
    on(NEW)
    assert choose_weight_bits(target_of(target), None).bits == 8
    assert choose_weight_bits(target_of(target), 7) == WeightBits(7, "asked for")
    on(OLD)
    chosen = choose_weight_bits(target_of(target), None)
    assert chosen.bits == 7 and "Old Processor" in chosen.in_words() and chosen.in_words().startswith("7 bits: ")
    with pytest.raises(InputError, match=r"8 bits .*Old Processor.* leave --weight-bits out"):
        choose_weight_bits(target_of(target), 8)


def test_onednns_variable_counts_for_openvino_only(on, monkeypatch: pytest.MonkeyPatch) -> None:
    on(NEW)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx2")
    assert choose_weight_bits(target_of("openvino"), None).bits == 7
    assert choose_weight_bits(target_of("onnxruntime"), None).bits == 8


@pytest.mark.parametrize("target", ["tensorrt", "tensorrt-rtx"])
def test_gpus_take_8_bits_whatever_the_cpu(on, target: str) -> None:
    on(OLD)
    assert choose_weight_bits(target_of(target), None) == WeightBits(8, "")
    assert choose_weight_bits(target_of(target), 7).bits == 7


def test_other_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="weights of 6 bits are unknown; use 7 or 8"):
        choose_weight_bits(target_of("openvino"), 6)
