"""The moving average of the weights, which is what a run evaluates and writes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


class WeightAverage(AveragedModel):
    """Exponential moving average of a module's parameters and float buffers; `module` has it, in eval mode.

    After update t (from 1) an entry is d * average + (1 - d) * value with d = min(decay, t / (t + 9)), so that
    the first updates forget the random start quickly. Whole-number buffers are copied.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__(module, multi_avg_fn=self._blend, use_buffers=True)
        self.decay = decay
        self.step = 0
        self.eval()

    def update(self, module: nn.Module, step: int) -> None:
        """Take in the module's tensors after training step `step` (from 1)."""
        self.step = step
        # The initial weights count as one, else the first update would replace them.
        self.n_averaged.fill_(step)
        self.update_parameters(module)

    def _blend(self, averages: Tensors, values: Tensors, _count: Tensor | int) -> None:
        # torch's own function has a fixed decay and blends whole numbers too. The step is a Python number: reading
        # the count would wait for the GPU.
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, 1 - min(self.decay, self.step / (self.step + 9)))
        else:
            torch._foreach_copy_(averages, values)
