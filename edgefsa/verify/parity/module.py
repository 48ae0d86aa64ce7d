"""The first stage, the PyTorch module, and its weights against their checkpoint. Imports torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgefsa.export.check import module_logits, upsampled
from edgefsa.metadata import LOGITS, MASKS
from edgefsa.models.checkpoint import AUXILIARY_PREFIXES
from edgefsa.models.checkpoint_file import StoredTensor, open_checkpoint
from edgefsa.models.weight_sets import COUNTER, weight_sets
from edgefsa.verify.parity.result import Equality
from edgefsa.verify.parity.stages import MODULE, Frames, Tensors
from edgefsa.verify.parity.tally import Seen


class ModuleStage:
    """The network as PyTorch computes it in float32. `head` is the tensor of the frames before the first weight.

    In the ONNX file that has the mean taken off (BGR), or, where `normalised`, is also divided and turned to RGB.
    """

    name, source, fuses = MODULE, "PyTorch", False

    def __init__(self, model: nn.Module, head: str, *, normalised: bool) -> None:
        self._model, self._head, self._normalised = model, head, normalised
        config: Any = model.config
        self._mean, self._std = config.mean_rgb, config.std_rgb

    def run(self, frames: Frames) -> Seen:
        """Return logits, masks (bilinear, then argmax), and the frames as the first weight meets them."""
        logits = module_logits(self._model, frames, self._mean, self._std)
        size_hw = (int(frames.shape[1]), int(frames.shape[2]))
        return Seen(logits, upsampled(logits, size_hw).argmax(1).astype(np.uint8), self._pixels(frames))

    def _pixels(self, frames: Frames) -> npt.NDArray[np.float32]:
        rgb = torch.from_numpy(np.ascontiguousarray(frames[..., ::-1])).float() - torch.tensor(self._mean)
        image = rgb / torch.tensor(self._std) if self._normalised else rgb.flip(-1)
        return np.asarray(image.permute(0, 3, 1, 2).numpy(), np.float32)

    def tensors(self, names: Sequence[str], frames: Frames) -> Tensors:
        """Return for each name every tensor that a submodule returns: which it is has to be told by its values.

        An ONNX file joins and folds what a module computes, so that names alone do not say which is which.
        """
        made: list[npt.NDArray[Any]] = []

        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            made.extend(np.array(item) for item in _tensors_of(output))

        hooks = [module.register_forward_hook(keep) for module in self._model.modules()]
        try:
            seen = self.run(frames)
        finally:
            for hook in hooks:
                hook.remove()
        known: Tensors = {LOGITS: [np.asarray(seen.logits)], MASKS: [seen.masks]}
        known |= {} if seen.pixels is None else {self._head: [seen.pixels]}
        return {name: known.get(name, made) for name in names}


def _tensors_of(output: Any) -> list[Tensor]:
    return [item for item in (output if isinstance(output, tuple) else (output,)) if isinstance(item, Tensor)]


def weights_equality(model: nn.Module, path: Path) -> Equality:
    """Look for the values of each of a module's tensors in its checkpoint, under whatever name.

    So it does not rest on how the loader finds its way through layouts of keys.
    """
    with open_checkpoint(path) as content:
        stored = {_digest(_read(item)) for state in weight_sets(content, str(path)).values() for item in state.values()}
    tensors = {
        key: tensor
        for key, tensor in model.state_dict().items()
        if not key.endswith(COUNTER) and not key.startswith(AUXILIARY_PREFIXES)
    }
    different = [key for key, tensor in tensors.items() if _digest(tensor) not in stored]
    return Equality(len(tensors), len(different), different[0] if different else "")


def _read(item: Tensor | StoredTensor) -> Tensor:
    return item.read() if isinstance(item, StoredTensor) else item


def _digest(tensor: Tensor) -> str:
    values = tensor.detach().to("cpu", torch.float32).contiguous()
    return hashlib.sha256(values.numpy().tobytes()).hexdigest()
