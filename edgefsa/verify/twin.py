"""The ONNX graph that an engine was made of, run literally beside it. Needs ONNX Runtime, neither onnx nor torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefsa.artifacts import Manifest
from edgefsa.engines.cpu.onnxruntime import CPU_PROVIDER
from edgefsa.engines.cpu.onnxruntime import ENGINE_NAME as ONNX_ENGINE_NAME
from edgefsa.engines.names import HALF_NAME, QUANTISED_NAME, SOURCE_NAME
from edgefsa.errors import EngineError
from edgefsa.media.fit import fit_of, geometry
from edgefsa.media.frames import Frame, Mask
from edgefsa.segment.segmenter import masks_from_logits

Tensor = npt.NDArray[np.floating]

_ERRORS_ONLY = 3
# Numbers of fields in onnx.proto: ModelProto.graph, GraphProto.output, ValueInfoProto.name.
_GRAPH, _OUTPUT, _NAME = 7, 12, 1


class Twin:
    """The graph that an engine was made of, run as literally as ONNX Runtime does, on the CPU in one thread.

    `tensors` are inner tensors of the main graph that a run returns beside the mask. Raises EngineError where ONNX
    Runtime is missing or refuses the graph.
    """

    def __init__(self, engine: Path, tensors: Iterable[str] = ()) -> None:
        manifest = Manifest.read(engine)
        self._model = manifest.model
        self._tensors = tuple(tensors)
        names = (ONNX_ENGINE_NAME, QUANTISED_NAME, HALF_NAME, SOURCE_NAME)
        path = next((engine / name for name in names if (engine / name).is_file()), engine / SOURCE_NAME)
        self._session = _literal_session(path, self._tensors)
        self._input = self._session.get_inputs()[0].name

    def mask(self, frame: Frame) -> Mask:
        """Return the class indices uint8 [H, W] of a frame uint8 [H, W, 3] BGR, fitted as the engine does it."""
        return self.run(frame)[0]

    def run(self, frame: Frame) -> tuple[Mask, dict[str, Tensor]]:
        """Return a frame's class indices, and the inner tensors by their names, of this frame alone."""
        height, width = self._model["size_hw"]
        made = geometry(fit_of(self._model), (frame.shape[0], frame.shape[1]), (height, width))
        batch = np.repeat(made.to_engine(frame)[None], int(self._model["batch"]), axis=0)
        outputs, *inner = self._session.run(None, {self._input: batch})
        found = outputs[0] if outputs.dtype == np.uint8 else masks_from_logits(outputs[0], (height, width))
        mask = made.mask_to_frame(found, int(self._model["ignore_index"]))
        return mask, dict(zip(self._tensors, (tensor[:1] for tensor in inner), strict=True))


def _literal_session(path: Path, tensors: Iterable[str]) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise EngineError("a canary needs ONNX Runtime: pip install 'edgefsa[onnxruntime]', or leave it out") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # all work is done in the caller's own thread
    try:
        graph = with_outputs(path.read_bytes(), tensors)
        return onnxruntime.InferenceSession(graph, options, providers=[CPU_PROVIDER])
    except Exception as error:  # ONNX Runtime's own exceptions share no base but Exception
        raise EngineError(f"ONNX Runtime cannot load {path}: {' '.join(str(error).split())[:200]}") from error


def with_outputs(model: bytes, tensors: Iterable[str]) -> bytes:
    """Return a serialised ModelProto with inner tensors of its main graph as further outputs.

    Serialised messages that follow each other are one message whose parts are merged, and lists are joined: so protobuf
    defines it. What is appended is a graph with nothing but outputs, and a device needs no onnx for that.
    """
    outputs = b"".join(_field(_OUTPUT, _field(_NAME, name.encode())) for name in tensors)
    return model + _field(_GRAPH, outputs)


def _field(number: int, content: bytes) -> bytes:
    """Return a protobuf field of bytes: its number and kind, the length in sevens of bits, the content."""
    length, size = b"", len(content)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content
