"""Where a run computes, in which type, and why."""

from __future__ import annotations

import pytest
import torch

from edgefsa.errors import InputError
from edgefsa.machine import Cpu
from edgefsa.train import compute
from edgefsa.train.compute import choose_compute


@pytest.mark.parametrize(
    ("features", "dtype", "why"),
    [
        (("avx2", "avx512_bf16"), torch.bfloat16, "this CPU has avx512_bf16"),
        (("avx512_bf16", "amx_bf16"), torch.bfloat16, "this CPU has amx_bf16"),
        (("avx2", "avx512f"), None, "this CPU has no fast bf16"),
    ],
)
def test_a_cpu_trains_in_bf16_where_it_is_fast(monkeypatch, features, dtype, why):
    monkeypatch.setattr(compute, "cpu", lambda: Cpu("name", "x86_64", features))
    found = choose_compute("cpu", "auto")
    assert (found.device.type, found.dtype, found.why) == ("cpu", dtype, why)
    assert found.precision == ("bf16" if dtype else "fp32")
    with found.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (dtype or torch.float32)
    assert choose_compute("cpu", "fp32").dtype is None
    assert choose_compute("cpu", "bf16").dtype == torch.bfloat16


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_a_gpu_trains_in_the_type_that_its_tensor_cores_take(monkeypatch, capability, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: None)
    found = choose_compute("auto", "auto", local_rank=1)
    assert (str(found.device), found.precision) == ("cuda:1", precision)
    for device in ("cuda", "auto"):
        with pytest.raises(InputError, match=r"needs GPU 2, and PyTorch .* sees 2 here"):
            choose_compute(device, "auto", local_rank=2)
