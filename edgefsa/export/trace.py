"""From a module to an ONNX graph of its logits, with each frequency layer as one node."""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator

import onnx
import torch
from onnxscript import optimizer
from torch import Tensor, nn

from edgefsa.errors import ExportError
from edgefsa.export.names import PREFIX
from edgefsa.graph.files import LOGITS, OPSET
from edgefsa.graph.folding import share_matrices
from edgefsa.graph.operators import DOMAIN, DOMAIN_VERSION, OPERATORS
from edgefsa.models.frequency import FrequencyOperator, map_sizes
from edgefsa.models.modules import swap_modules

IMAGE = "image"
FOLD_LIMIT = 1 << 24  # elements; weights that a module joins on the fly are to be one tensor


class _OperatorNode(nn.Module):
    """Stands in for a frequency layer during the export: one operator, its tensors as buffers."""

    def __init__(self, operator: FrequencyOperator) -> None:
        super().__init__()
        self.operator = operator
        for name, tensor in operator.tensors.items():
            self.register_buffer(name, tensor.detach().to(torch.float32).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        tensors = [self.get_buffer(name) for name in OPERATORS[self.operator.name].input_names[1:]]
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::{self.operator.name}",
            (x, *tensors),
            dict(self.operator.attributes),
            dtype=x.dtype,
            shape=x.shape,
            version=DOMAIN_VERSION,
        )


class _Logits(nn.Module):
    """Keeps the names of the network below PREFIX, and only the logits of what it gives."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        out = self.network(image)
        logits: Tensor = out[0] if isinstance(out, tuple) else out
        return logits


def trace_logits(model: nn.Module, size_hw: tuple[int, int], batch: int) -> onnx.ModelProto:
    """Return the graph from `image` (float [N, 3, H, W], normalised RGB) to `logits` (float [N, K, h, w]).

    `model` stays as it is. Constants are folded; names and metadata are still the exporter's.
    """
    image = torch.zeros(batch, 3, *size_hw)
    network = copy.deepcopy(model).cpu().float().eval()
    sizes = map_sizes(network, image)
    swap_modules(network, {layer: _OperatorNode(layer.operator(*size)) for layer, size in sizes.items()})
    with _quiet_exporter(), torch.no_grad():
        try:
            program = torch.onnx.export(
                _Logits(network).eval(),
                (image,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[IMAGE],
                output_names=[LOGITS],
                optimize=False,
                verbose=False,
            )
        except Exception as error:  # torch.export raises a dozen kinds
            first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ExportError(f"{type(model).__name__} cannot be traced by torch.export ({first_line})") from error
    assert program is not None
    # Not the exporter's own optimiser: what it rewrites, and with it the folded weights, changes with its version.
    optimizer.fold_constants(program.model, input_size_limit=FOLD_LIMIT, output_size_limit=FOLD_LIMIT)
    optimizer.remove_unused_nodes(program.model)
    graph: onnx.ModelProto = program.model_proto
    share_matrices(graph, lambda name: not name.startswith(PREFIX))
    return graph


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hide the exporter's notes on optional packages and on its own internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
