"""What the layers of a strongly typed network run in: its types are the engine's."""

from __future__ import annotations

from typing import Any

from edgefsa.engines.session import LayerPrecision
from edgefsa.engines.tensorrt.builder import layers_of, onnx_nodes
from edgefsa.engines.tensorrt.layers import PLUGIN_KIND

_WORDS = {"FLOAT": "f32", "HALF": "f16"}


def network_layers(network: Any) -> list[LayerPrecision]:
    """Return the layers of a network that is strongly typed, but for its constants."""
    layers = layers_of(network)
    makers = {layer.get_output(index).name: layer for layer in layers for index in range(layer.num_outputs)}
    found = []
    for layer in layers:
        if layer.type.name == "CONSTANT":
            continue
        factors = [layer.get_input(index) for index in range(min(layer.num_inputs, 2))]
        multiplies = layer.type.name in ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY")
        integer = multiplies and len(factors) == 2 and all(_is_dequantised(tensor, makers) for tensor in factors)
        word = layer.get_output(0).dtype.name
        precision = "int8" if integer else _WORDS.get(word, word.lower())
        kind = PLUGIN_KIND if layer.type.name == "PLUGIN_V3" else layer.type.name.lower()
        found.append(LayerPrecision(layer.name, kind, precision, "", _nodes(layer), multiplies))
    return found


def _is_dequantised(tensor: Any, makers: dict[str, Any]) -> bool:
    """Return whether a factor comes from a dequantisation, seen through layers that only move its elements.

    The parser itself puts a shuffle behind the weight of a matrix product whose activations have more dimensions.
    """
    maker = makers.get(tensor.name) if tensor is not None else None
    while maker is not None and maker.type.name == "SHUFFLE":
        maker = makers.get(maker.get_input(0).name)
    return maker is not None and bool(maker.type.name == "DEQUANTIZE")


def _nodes(layer: Any) -> tuple[str, ...]:
    return tuple(onnx_nodes(str(layer.metadata))) or (layer.name,)
