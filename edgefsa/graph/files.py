"""Reading edgefsa's ONNX files: checks, metadata, inlining, and the hash that calibration ranges belong to.

Needs onnx and no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.inliner
from onnx import numpy_helper

from edgefsa.errors import GraphError
from edgefsa.graph.batches import BATCH, fixed_batch
from edgefsa.graph.operators import DOMAIN, operator
from edgefsa.metadata import FRAMES as FRAMES
from edgefsa.metadata import LOGITS as LOGITS
from edgefsa.metadata import MASKS as MASKS
from edgefsa.metadata import METADATA_FIELDS as METADATA_FIELDS
from edgefsa.metadata import METADATA_KEY as METADATA_KEY
from edgefsa.metadata import batches_of, check_metadata

# The newest opset that TensorRT 10.3 (JetPack 6) parses. It has Gelu as one operator and 16-bit scales for
# QuantizeLinear, and ONNX Runtime, OpenVINO and TensorRT-RTX take it too.
OPSET = 20
IR_VERSION = 10

# Nodes that only move or count elements: they change with the input's size, the weights do not.
_SHAPE_OPERATORS = frozenset(
    ("Cast", "Concat", "Constant", "Expand", "Gather", "Identity", "Pad", "Range", "Reshape", "Resize", "Shape")
    + ("Slice", "Squeeze", "Transpose", "Unsqueeze")
)


@dataclass(frozen=True)
class LoadedGraph:
    """An ONNX file that was read and checked, with its metadata; what takes a file's path takes this in its place."""

    path: Path
    model: onnx.ModelProto
    metadata: dict[str, Any]


def read_graph(source: str | Path | LoadedGraph) -> LoadedGraph:
    """Read and check a file once, as `load_graph` does; what was read already is returned as it is."""
    if isinstance(source, LoadedGraph):
        return source
    model = load_graph(source)
    return LoadedGraph(Path(source), model, read_metadata(model, source))


def load_graph(path: str | Path) -> onnx.ModelProto:
    """Read an ONNX file that edgefsa exported or converted.

    Raises GraphError, one line each, where the file is missing, truncated or no ONNX, holds an operator that
    neither ONNX nor the file itself defines, lacks edgefsa's metadata, or has other inputs or outputs than these say.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise GraphError(f"cannot read {path}: {reason}; make it with `edgefsa export`") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:  # protobuf's DecodeError has no stable import path
        model.Clear()
    if not model.graph.node:
        raise GraphError(f"{path} is no ONNX file, or was cut short ({len(data)} bytes); export it again")
    check_operators(model, path)
    metadata = read_metadata(model, path)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        first_line = str(error).strip().splitlines()[0]
        raise GraphError(f"{path} is not a valid ONNX graph ({first_line}); export it again") from None
    _check_ends(model, metadata, path)
    return model


def _check_ends(model: onnx.ModelProto, metadata: dict[str, Any], source: str | Path) -> None:
    """Raise GraphError where the graph takes or gives something else than its metadata say."""
    uint8, real = onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT
    batch: int | str = metadata["batch"] if batches_of(metadata).fixed else BATCH
    (height, width), output = metadata["size_hw"], metadata["outputs"]
    shape = [batch, height, width] if output == MASKS else [batch, metadata["num_classes"]]
    wanted_input = (FRAMES, uint8, [batch, height, width, 3])
    wanted_output = (output, uint8 if output == MASKS else real, shape)
    for word, items, wanted in (
        ("input", model.graph.input, wanted_input),
        ("output", model.graph.output, wanted_output),
    ):
        found = [_signature(item) for item in items]
        # Of logits the height and the width are the network's own.
        if [(name, kind, dims[: len(wanted[2])] if word == "output" else dims) for name, kind, dims in found] != [
            wanted
        ]:
            raise GraphError(
                f"{source} has the {word} {', '.join(map(_in_words, found)) or 'nothing'}, its metadata say "
                f"{_in_words(wanted)}; export it again with `edgefsa export`"
            )


def _signature(item: onnx.ValueInfoProto) -> tuple[str, int, list[int | str]]:
    tensor = item.type.tensor_type
    return item.name, tensor.elem_type, [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]


def _in_words(signature: tuple[str, int, Sequence[int | str]]) -> str:
    name, kind, dims = signature
    return f"{name} {onnx.TensorProto.DataType.Name(kind).lower()} [{', '.join(map(str, dims))}]"


def check_operators(model: onnx.ModelProto, source: str | Path = "the graph") -> None:
    """Raise GraphError naming the first operator that neither ONNX nor a function of `model` defines."""
    functions = {(item.domain, item.name, item.overload) for item in model.functions}
    main = {item.domain: item.version for item in model.opset_import}
    scopes = [(main, model.graph.node)]
    scopes += [({item.domain: item.version for item in body.opset_import}, body.node) for body in model.functions]
    for versions, nodes in scopes:
        for node in _with_subgraphs(nodes):
            if (node.domain, node.op_type, node.overload) in functions:
                continue
            domain = "" if node.domain == "ai.onnx" else node.domain
            version = versions.get(domain, versions.get("ai.onnx", 0) if not domain else 0)
            if domain == "" and onnx.defs.has(node.op_type, version, ""):
                continue
            raise GraphError(
                f"{source} has the operator {domain or 'ai.onnx'}::{node.op_type} (node {node.name or '?'}, version "
                f"{version}), which is unknown here; use ONNX operators, or add its body as a model function"
            )


def _with_subgraphs(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in [attribute.g, *attribute.graphs]:
                yield from _with_subgraphs(graph.node)


def read_metadata(model: onnx.ModelProto | str | Path, source: str | Path | None = None) -> dict[str, Any]:
    """Return what the file says of its model: see METADATA_FIELDS.

    `size_hw` is the frames' [height, width] and `batch` their number, the largest where it is open and `batches` holds
    [fewest, usual, most]; `palette` is [[r, g, b], ...], 0 to 255; `outputs` is "masks" or "logits". Raises GraphError
    where the file is not edgefsa's, or a field is not what it has to be.
    """
    if not isinstance(model, onnx.ModelProto):
        return read_metadata(load_graph(model), model)
    source = source or "the ONNX graph"
    texts = [item.value for item in model.metadata_props if item.key == METADATA_KEY]
    if not texts:
        raise GraphError(
            f"{source} was not exported by edgefsa: it lacks the metadata `{METADATA_KEY}` (JSON with "
            f"{', '.join(METADATA_FIELDS)}), uint8 [N, H, W, 3] `{FRAMES}` and uint8 [N, H, W] `{MASKS}`; "
            "use `edgefsa export`"
        )
    try:
        metadata = json.loads(texts[0])
    except ValueError:
        raise GraphError(f"{source} has metadata that is not JSON; export it again with `edgefsa export`") from None
    return check_metadata(metadata, source)


def write_metadata(model: onnx.ModelProto, metadata: dict[str, Any]) -> None:
    """Store `metadata` in the file in place of what was there."""
    kept = [(item.key, item.value) for item in model.metadata_props if item.key != METADATA_KEY]
    del model.metadata_props[:]
    for key, value in [*kept, (METADATA_KEY, json.dumps(metadata))]:
        model.metadata_props.add(key=key, value=value)


def largest_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with its batch fixed to the largest that its metadata allow; as it is where it is fixed."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    return fixed_batch(model, read_metadata(model)["batch"]) if dims[0].dim_param == BATCH else model


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with each function node replaced by its body: standard operators only, but for plugin nodes.

    Names of tensors and nodes of the main graph stay as they are.
    """
    inlined = onnx.inliner.inline_local_functions(model)
    used = {node.domain for node in inlined.graph.node}
    kept = [item for item in inlined.opset_import if item.domain != DOMAIN or DOMAIN in used]
    del inlined.opset_import[:]
    inlined.opset_import.extend(kept)
    return inlined


def initializers(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Return the main graph's stored tensors by name."""
    return {item.name: item for item in model.graph.initializer}


def weights_hash(model: onnx.ModelProto) -> str:
    """Return a SHA-256 over the network: its operators, how they are joined, their settings, names and weights.

    The same network exported again, at another size or batch, or with the other output, hashes the same, so
    its calibration ranges fit all of these. Left out of a frequency operator are its bases, which depend on the
    size (the model's options stand for them), and where a batch norm was folded into it the result, whose last
    bits differ from one CPU to another.
    """
    stored = initializers(model)
    digest = hashlib.sha256(_options_text(model).encode())
    origins: dict[str, list[str]] = {}
    for node in model.graph.node:
        if node.op_type in _SHAPE_OPERATORS:
            # Only the data: what it is shaped by depends on the size.
            data = node.input if node.op_type == "Concat" else node.input[:1]
            origins.update(dict.fromkeys(node.output, _origins_of(data, origins)))
        elif (ours := operator(node.domain, node.op_type)) is None or ours.trained:
            _hash_settings(digest, node)
            for name in _origins_of(_hashed_inputs(node, stored), origins):
                _hash_input(digest, name, stored)
    return digest.hexdigest()


def _options_text(model: onnx.ModelProto) -> str:
    texts = [item.value for item in model.metadata_props if item.key == METADATA_KEY]
    return json.dumps(json.loads(texts[0])["options"], sort_keys=True) if texts else ""


def _origins_of(names: Iterable[str], origins: dict[str, list[str]]) -> list[str]:
    """Return the tensors that `names` hold the elements of, seen through the operators that only move them."""
    return [origin for name in names for origin in origins.get(name, [name])]


def _hashed_inputs(node: onnx.NodeProto, stored: dict[str, onnx.TensorProto]) -> list[str]:
    ours = operator(node.domain, node.op_type)
    if ours is None:
        return list(node.input)
    given = list(zip(ours.inputs, node.input, strict=True))
    folded = [numpy_helper.to_array(stored[name]) for item, name in given if item.folded]
    # A diagonal matrix is the gain alone, with no norm in it, and exact; so is then what was folded beside it.
    exact = all(_is_diagonal(array) for array in folded if array.ndim == 2)
    return [name for item, name in given if not item.computed and (exact or not item.folded)]


def _is_diagonal(matrix: npt.NDArray[np.generic]) -> bool:
    return matrix.shape[0] == matrix.shape[1] and not (matrix - np.diag(np.diag(matrix))).any()


def _hash_settings(digest: hashlib._Hash, node: onnx.NodeProto) -> None:
    ours = operator(node.domain, node.op_type)
    computed = {item.name for item in ours.attributes if item.computed} if ours else set()
    digest.update(f"{node.domain}|{node.op_type}|{node.output[0]}\n".encode())
    for attribute in sorted(node.attribute, key=lambda item: item.name):
        if attribute.name not in computed:
            digest.update(attribute.SerializeToString(deterministic=True))


def _hash_input(digest: hashlib._Hash, name: str, stored: dict[str, onnx.TensorProto]) -> None:
    if name not in stored:
        digest.update(f"{name}\n".encode())
    elif stored[name].data_type == onnx.TensorProto.FLOAT:
        array = np.ascontiguousarray(numpy_helper.to_array(stored[name]))
        digest.update(f"{name}|{array.shape}\n".encode() + array.tobytes())
