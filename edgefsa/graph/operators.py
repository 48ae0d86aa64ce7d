"""The operators of our ONNX domain: inputs, attributes and shapes, how they are quantised, which plugins they have.

The one place where an operator is described. The export writes nodes by it, `functions` adds the bodies, `files` hashes
by it, `quantize` places Q/DQ pairs, and `engines.tensorrt.plugins` make plugin nodes; a test holds the C++ plugins
against it. Imports nothing, so a device reads it too. The formulas are in `edgefsa.models.formulas`.
"""

from __future__ import annotations

from dataclasses import dataclass

DOMAIN = "edgefsa"
DOMAIN_VERSION = 1
# Attributes of a plugin node that reads and writes INT8 maps: the scale of what it reads and of what it writes.
INT8_SCALES = ("x_scale", "y_scale")
# Attribute of UpsampleArgmax's plugin node: 1 where the indices are float16, which has 0 to 255 exactly, 0 for int32.
HALF_INDICES = "half_indices"


@dataclass(frozen=True)
class Input:
    """An input and its shape, in letters that mean one size throughout an operator.

    `computed` inputs follow from the map's size and the model's options, which stand for them in `weights_hash`. Into
    `folded` ones a batch norm may have been folded, so their last bits differ from one CPU to another.
    """

    name: str
    shape: str
    computed: bool = False
    folded: bool = False


@dataclass(frozen=True)
class Attribute:
    """An attribute, its type, and whether it is `computed` as inputs may be."""

    name: str
    type: type[int] | type[float] | type[str]
    computed: bool = False


@dataclass(frozen=True)
class Operator:
    """An operator of domain `edgefsa`; its first input is the map that it works on, the others are stored.

    `output` names the result and its shape. `why_float` is why its arithmetic stays in float32. An operator that
    `keeps_type` gives a map of the type and shape of its first input; its plugin takes INT8 maps. `plugin_version` is
    that of its plugin in the library; with `one_kernel` the plugin's kernel can lie in the engine itself. What is not
    `trained` only sets the size of the masks, and is no part of the network that ranges belong to.
    """

    name: str
    inputs: tuple[Input, ...]
    attributes: tuple[Attribute, ...]
    output: Input
    why_float: str
    keeps_type: bool
    one_kernel: bool
    trained: bool = True
    plugin_version: str = "1"

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the inputs, in the order of the node."""
        return tuple(item.name for item in self.inputs)

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """The names of the attributes."""
        return tuple(item.name for item in self.attributes)


TRUNCATED_DCT_ATTENTION = Operator(
    "TruncatedDctAttention",
    inputs=(
        Input("x", "N C H W"),
        Input("basis_h", "KH H", computed=True),
        Input("basis_w", "KW W", computed=True),
        Input("query_weight", "D C"),
        Input("query_bias", "D"),
        Input("key_weight", "D C"),
        Input("key_bias", "D"),
        Input("value_weight", "V C"),
        Input("value_bias", "V"),
        Input("out_weight", "C V", folded=True),
        Input("shift", "C", folded=True),
    ),
    # The scale has the number of pixels in it.
    attributes=(Attribute("mode", str), Attribute("recurrence", int), Attribute("scale", float, computed=True)),
    output=Input("y", "N C H W"),
    why_float="frequency operator",
    keeps_type=True,
    one_kernel=False,
)
SPECTRAL_MASK = Operator(
    "SpectralMask",
    inputs=(
        Input("x", "N C H W"),
        Input("gain", "C"),
        Input("basis_h", "H MH", computed=True),
        Input("basis_w", "W MW", computed=True),
        Input("coupling_gain", "M M", computed=True),
        Input("coupling_base", "M M", computed=True),
    ),
    attributes=(),
    output=Input("y", "N C H W"),
    why_float="frequency operator",
    keeps_type=True,
    one_kernel=True,
)
UPSAMPLE_ARGMAX = Operator(
    "UpsampleArgmax",
    inputs=(Input("logits", "N K H W"),),
    attributes=(Attribute("height", int, computed=True), Attribute("width", int, computed=True)),
    output=Input("indices", "N height width"),
    why_float="upsampling and argmax of the logits",
    keeps_type=False,
    one_kernel=True,
    trained=False,
)
OPERATORS = {item.name: item for item in (TRUNCATED_DCT_ATTENTION, SPECTRAL_MASK, UPSAMPLE_ARGMAX)}


def operator(domain: str, name: str) -> Operator | None:
    """Return the operator of a node's domain and op_type; None for one that is not ours."""
    return OPERATORS.get(name) if domain == DOMAIN else None
