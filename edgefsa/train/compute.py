"""Where a run computes and in which type: the CPU or a GPU, float32 or a 16-bit type under autocast."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from edgefsa.errors import InputError
from edgefsa.machine import cpu

# With any of these a CPU multiplies bf16 matrices at least as fast as float32 ones, in order of preference.
FAST_BF16_FEATURES = ("amx_bf16", "avx512_bf16", "bf16")
_TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Compute:
    """A device, the autocast type (None: float32 throughout), and the reason for it in words."""

    device: torch.device
    dtype: torch.dtype | None
    why: str

    @property
    def precision(self) -> str:
        """Return "fp32", "bf16" or "fp16"."""
        return next(name for name, dtype in _TYPES.items() if dtype == self.dtype)

    def autocast(self) -> torch.autocast:
        """Return the context that the forward pass runs in."""
        return torch.autocast(self.device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None)

    def __str__(self) -> str:
        return f"{self.precision} on {self.device} ({self.why})"


def choose_compute(device: str, precision: str, local_rank: int = 0) -> Compute:
    """Choose for `device` "auto", "cpu" or "cuda" and `precision` "auto", "fp32", "bf16" or "fp16".

    On a GPU the process takes the one numbered `local_rank`. Raises InputError where there is no such GPU, and for
    fp16 on a CPU.
    """
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return _on_cpu(precision)
    found = torch.cuda.device_count()
    if local_rank >= found:
        raise InputError(
            f"device cuda needs GPU {local_rank}, and PyTorch {torch.__version__} sees {found} here; "
            "use --device cpu, fewer processes, or a PyTorch with CUDA"
        )
    return _on_gpu(precision, local_rank)


def _on_gpu(precision: str, index: int) -> Compute:
    name, capability = torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)
    torch.cuda.set_device(index)
    if precision == "auto":
        precision = "bf16" if capability >= (8, 0) else "fp16"  # tensor cores take bf16 from Ampere on
    return Compute(torch.device("cuda", index), _TYPES[precision], name)


def _on_cpu(precision: str) -> Compute:
    if precision == "fp16":
        raise InputError("fp16 training needs a CUDA GPU; on a CPU use --precision bf16, fp32 or auto")
    fast = [feature for feature in FAST_BF16_FEATURES if feature in cpu().features]
    why = f"this CPU has {fast[0]}" if fast else "this CPU has no fast bf16"
    if precision != "auto":
        return Compute(torch.device("cpu"), _TYPES[precision], "as asked")
    return Compute(torch.device("cpu"), torch.bfloat16 if fast else None, why)
