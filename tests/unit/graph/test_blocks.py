"""Where a graph is cut into blocks, on graphs small enough to see it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from edgefsa.graph.blocks import Block, blocks_of
from edgefsa.graph.files import load_graph


def graph(body: str, *, weights: tuple[str, ...] = ()) -> onnx.ModelProto:
    text = f"""<ir_version: 10, opset_import: ["" : 20, "edgefsa" : 1]>
    network (uint8[1,8,8,3] frames) => (uint8[1,8,8] masks) {{
        cast = Cast <to = 1> (frames)
        image = Transpose <perm = [0, 3, 1, 2]> (cast)
        {body}
        indices = edgefsa.UpsampleArgmax <height = 8, width = 8> (logits)
        masks = Cast <to = 2> (indices)
    }}"""
    model = onnx.parser.parse_model(text)
    for node in model.graph.node:
        node.name = f"{node.output[0]}/{node.op_type}"
    for name in ("w0", "w1", "w2", "w3"):
        model.graph.initializer.append(numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), name))
    return model


def ends(blocks: list[Block]) -> list[tuple[str, str]]:
    return [(block.name, block.end) for block in blocks]


def test_a_residual_addition_ends_a_block_behind_its_relu_and_its_fork_begins_one():
    blocks = blocks_of(
        graph("""
        stem = Conv (image, w0)
        relu = Relu (stem)
        one = Conv (relu, w1)
        two = Conv (one, w2)
        sum = Add (two, relu)
        out = Relu (sum)
        logits = Conv (out, w3)
        """)
    )
    assert ends(blocks) == [
        ("frames", "image"),
        ("stem", "relu"),
        ("one..two", "out"),
        ("logits", "logits"),
        ("masks", "masks"),
    ]
    assert blocks[2].nodes == ("one/Conv", "two/Conv", "sum/Add", "out/Relu")
    assert blocks[2].inputs == ("relu",) and blocks[2].weights == ("one/Conv", "two/Conv")
    assert blocks[0].inputs == () and blocks[4].inputs == ("logits",)


def test_a_frequency_operator_is_a_block_of_its_own_between_its_neighbours():
    blocks = blocks_of(
        graph("""
        one = Conv (image, w0)
        relu = Relu (one)
        mixed = edgefsa.SpectralMask (relu, w1, w1, w1, w1, w1)
        logits = Conv (mixed, w2)
        """)
    )
    assert ends(blocks)[1:4] == [("one", "relu"), ("mixed", "mixed"), ("logits", "logits")]
    assert [block.is_frequency for block in blocks] == [False, False, True, False, False]
    assert blocks[2].weights == ()


def test_what_has_no_weight_belongs_to_the_block_that_reads_it():
    blocks = blocks_of(
        graph("""
        one = Conv (image, w0)
        two = Conv (one, w1)
        pooled = MaxPool <kernel_shape = [2, 2]> (two)
        small = Relu (pooled)
        both = Concat <axis = 1> (small, one)
        logits = Conv (both, w2)
        """)
    )
    assert ends(blocks) == [
        ("frames", "image"),
        ("one", "one"),
        ("two", "small"),
        ("logits", "logits"),
        ("masks", "masks"),
    ]
    assert blocks[2].nodes[1:] == ("pooled/MaxPool", "small/Relu") and "both/Concat" in blocks[3].nodes
    assert set(blocks[3].inputs) == {"small", "one"}


def test_additions_of_constants_and_gates_join_nothing():
    blocks = blocks_of(
        graph("""
        one = Conv (image, w0)
        moved = Add (one, w1)
        two = Conv (moved, w2)
        logits = Conv (two, w3)
        """)
    )
    assert ends(blocks)[1:2] == [("one..logits", "logits")]


def test_two_blocks_of_one_module_have_two_names():
    model = graph("""
        one = Conv (image, w0)
        two = Conv (one, w1)
        sum = Add (one, two)
        logits = Conv (sum, w2)
        """)
    for node in model.graph.node:
        if node.output[0] in ("one", "two"):
            node.name = f"same/{node.output[0]}"
    names = [block.name for block in blocks_of(model)]
    assert names == ["frames", "same", "same to sum", "logits", "masks"]


def test_every_node_of_an_exported_network_is_in_one_block(edge_onnx: Path):
    model = load_graph(edge_onnx)
    blocks = blocks_of(model)
    owned = [name for block in blocks for name in block.nodes]
    assert sorted(owned) == sorted(node.name for node in model.graph.node)
    makers = {tensor: node.name for node in model.graph.node for tensor in node.output}
    place = {name: index for index, block in enumerate(blocks) for name in block.nodes}
    for index, block in enumerate(blocks):
        assert place[makers[block.end]] == index
        assert all(place[makers[tensor]] < index for tensor in block.inputs)
    assert [block.name for block in blocks if block.is_frequency] == ["attention"]
    assert len({block.name for block in blocks}) == len(blocks)


@pytest.mark.parametrize("output", ["logits"])
def test_a_graph_that_gives_logits_has_no_masks(output: str):
    model = graph("logits = Conv (image, w0)")
    del model.graph.node[-2:]
    model.graph.output[0].name = output
    assert ends(blocks_of(model)) == [("frames", "image"), ("logits", "logits")]
