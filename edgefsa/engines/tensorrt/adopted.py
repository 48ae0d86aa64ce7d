"""Plans that other tools made, run as engines of ours: the frames are prepared on the host as the network takes them.

They come by `edgefsa adopt`. Written against the published API and tested on a GPU that NumPy plays.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgefsa.artifacts import Manifest
from edgefsa.engines.names import ADOPTED
from edgefsa.engines.session import Frames, Outputs, Session
from edgefsa.engines.target import BuildJob, Target, TargetBuild
from edgefsa.engines.tensorrt.rtx import TensorRtRtxTarget
from edgefsa.engines.tensorrt.session import PlanSession, logits_refused
from edgefsa.engines.tensorrt.target import TensorRtTarget
from edgefsa.errors import EngineError, TargetError
from edgefsa.media.tensors import InputForm
from edgefsa.metadata import LOGITS

_NOT_BUILT = "it holds plans that other tools made: `edgefsa adopt` makes an engine of one"


class AdoptedPlanSession(PlanSession):
    """Runs a plan of one input and one output of fixed shapes; the manifest says what they mean.

    The output is logits, float [N, K, h, w] or [N, h, w, K], or class indices of any type, [N, H, W] or [N, 1, H, W].
    """

    numpy_types: ClassVar[dict[str, type[np.generic]]] = {
        **PlanSession.numpy_types,
        **{"HALF": np.float16, "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_},
    }

    def __init__(self, directory: Path, manifest: Manifest, *, module: str, threads: int | None = None) -> None:
        super().__init__(directory, manifest, module=module, threads=threads)
        self._form = InputForm.from_dict(manifest.precision_detail["input"])

    def staging(self, count: int | None = None) -> Frames | None:
        """Return None: frames are read from where they lie, and the plan's input is made of them."""
        return None

    def _load(self) -> None:
        super()._load()
        staged = super().staging()
        wanted = self._form.shape(self.batch, self.size_hw)
        if staged is None or staged.shape != wanted or staged.dtype != self._form.dtype:
            found = "nothing" if staged is None else f"{staged.dtype} {list(staged.shape)}"
            self._release()
            raise EngineError(
                f"{self.directory.name} takes {found}, and it was adopted as {self._form.dtype} {list(wanted)}; adopt "
                "it again with --size, --batch and --layout as the plan has them"
            )

    def _bind(self, context: Any, name: str) -> Any:
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == self._tensorrt.TensorIOMode.INPUT]
        if len(inputs) != 1 or len(names) != 2:
            outputs = [name for name in names if name not in inputs]
            raise EngineError(
                f"{self.directory.name} has the inputs {', '.join(inputs)} and the outputs {', '.join(outputs)}, and "
                "one of each can be used; leave the others out of the ONNX file that the plan is made of"
            )
        shape = tuple(context.get_tensor_shape(name))
        if any(size < 1 for size in shape):
            raise EngineError(
                f"{self.directory.name} has the tensor {name} of the dynamic shape {list(shape)}; make the plan of an "
                "ONNX file with fixed sizes"
            )
        return super()._bind(context, name)

    def _submit(self, frames: Frames) -> Any:
        staged = super().staging(len(frames))
        assert staged is not None
        self._form.write(frames, staged)
        return super()._submit(staged)

    def _collect(self, handle: Any) -> tuple[Outputs, float, float]:
        output, engine_ms, copy_ms = super()._collect(handle)
        return self._as_ours(output), engine_ms, copy_ms

    def _as_ours(self, output: Outputs) -> Outputs:
        """Return float32 logits [N, K, h, w] or uint8 masks [N, H, W]; EngineError where they are something else."""
        classes = int(self.manifest.model["num_classes"])
        if self.manifest.model["outputs"] == LOGITS:
            if output.ndim == 4 and output.shape[1] != classes and output.shape[3] == classes:
                output = output.transpose(0, 3, 1, 2)
            if output.ndim != 4 or output.shape[1] != classes or output.dtype.kind != "f":
                raise self._other_output(output, f"logits of {classes} classes, float [N, {classes}, h, w]")
            return np.ascontiguousarray(output, np.float32)
        masks = output[:, 0] if output.ndim == 4 and output.shape[1] == 1 else output
        if masks.shape[1:] != self.size_hw:
            raise self._other_output(output, f"class indices {[self.batch, *self.size_hw]}")
        return masks.astype(np.uint8, copy=False)

    def _other_output(self, output: Outputs, wanted: str) -> EngineError:
        return EngineError(
            f"{self.directory.name} gives {output.dtype} {list(output.shape)}, and it was adopted as giving {wanted}; "
            "adopt it again with --outputs, --classes and --size as the plan has them"
        )


class TensorRtPlanTarget(Target):
    """Opens adopted plans of TensorRT."""

    name = f"tensorrt-{ADOPTED}"
    package = "tensorrt"
    extra = "tensorrt"
    version_parts = 0  # the runtime itself knows which plans it reads
    _opens: Target = TensorRtTarget()

    def version(self) -> str:
        """Return the runtime's version, or "" where it is not installed."""
        return self._opens.version()

    def unusable(self) -> str | None:
        """Return why plans of this runtime cannot run on this machine, or None where they can."""
        return self._opens.unusable()

    def unbuildable(self) -> str | None:
        """Return that nothing is built here."""
        return _NOT_BUILT

    def unsuited(self, precision: str) -> str | None:
        """Return that nothing is built here."""
        return _NOT_BUILT

    def build(self, job: BuildJob) -> TargetBuild:
        """Refuse: plans of this target are adopted."""
        raise TargetError(f"the target {self.name} builds nothing: {_NOT_BUILT}")

    def open(self, directory: Path, manifest: Manifest, *, threads: int | None = None) -> Session:
        """Return the session, not loaded yet."""
        return AdoptedPlanSession(directory, manifest, module=self.package, threads=threads)

    def open_logits(self, directory: Path, manifest: Manifest, *, threads: int | None = None) -> Session:
        """Refuse: a plan has no other outputs than it was built with."""
        raise logits_refused(directory)


class TensorRtRtxPlanTarget(TensorRtPlanTarget):
    """Opens adopted plans of TensorRT for RTX."""

    name = f"tensorrt-rtx-{ADOPTED}"
    package = "tensorrt_rtx"
    extra = "rtx"
    _opens = TensorRtRtxTarget()
