"""The target figure2: a path of layers for each column, which is the same network."""

import numpy as np
import onnx
import pytest
import timm
import torch

from alexnet_zoo import pipeline
from alexnet_zoo.errors import UserError
from alexnet_zoo.onnx.apart import Apart
from alexnet_zoo.onnx.export import compare
from alexnet_zoo.onnx.preprocessing import Preprocessing
from alexnet_zoo.onnx.target import load_target
from alexnet_zoo.report.graph import draw_graph
from alexnet_zoo.resolve import Network


@pytest.fixture(scope="module")
def written(exported, digits, tmp_path_factory):
    """The file of a small network, as `alexzoo export` writes it, and what it says of it."""
    inputs = Preprocessing.from_metadata(exported.metadata, exported.path)
    folder = tmp_path_factory.mktemp("figure2")
    splits = (digits.split("train"), digits.split("test"))
    network = Network(exported.model, "alexnet_krizhevsky", "digits", None, inputs, *splits, folder, "model")
    return exported.model, *pipeline.export(network, load_target("figure2"))


def test_it_computes_the_network(written):
    model, path, line = written
    assert path.name == "model-figure2.onnx" and "differ from torch's by at most" in line
    assert compare(model, path, 20 * torch.randn(5, 3, 112, 112), tolerance=1e-4) < 1e-4


def test_two_paths_cross_where_the_papers_columns_do(written):
    graph = onnx.load(written[1]).graph
    nodes = {node.name: node for node in graph.node}
    makers = {output: node.name for node in graph.node for output in node.output}
    read = {name: [makers[tensor] for tensor in node.input if tensor in makers] for name, node in nodes.items()}
    for other, column in (("column2", "column1"), ("column1", "column2")):
        own = [name for name in nodes if name.startswith(column)]
        for layer in "conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2 conv3 relu3 conv4 conv5 pool5 fc6 fc7".split():
            assert f"{column}.{layer}" in own
        assert not any(source.startswith(other) for name in own for source in read[name])
    joined = [name for name, node in nodes.items() if node.op_type == "Concat"]
    assert joined == ["both.conv3", "both.fc6", "both.fc7", "both.fc8"]
    for name in joined:
        assert [source.partition(".")[0] for source in read[name]] == ["column1", "column2"]
    assert sum(node.op_type == "LRN" for node in graph.node) == 4
    assert all(attribute.i == 1 for node in graph.node for attribute in node.attribute if attribute.name == "group")


def test_the_file_says_what_it_is(written):
    model, path, _ = written
    proto = onnx.load(path)
    learned = sum(parameter.numel() for parameter in model.parameters())
    weights = [tensor for tensor in proto.graph.initializer if tensor.name.endswith(("weight", "bias"))]
    assert sum(int(np.prod(tensor.dims)) for tensor in weights) == learned
    assert proto.graph.name == "alexnet_krizhevsky"
    assert "Krizhevsky" in proto.graph.doc_string and f"{learned:,} learned parameters" in proto.doc_string


def test_its_picture_has_a_box_for_each_node(written):
    figure = draw_graph(written[1])
    words = [text.get_text() for text in figure.axes[0].texts]
    assert len(words) == 1 + len(onnx.load(written[1]).graph.node)
    assert words.count("conv4: Conv, 48 of 3×3×48") == 2 and words.count("pool5: MaxPool 3/2") == 2
    assert "both.conv3: Concat" in written[1].with_suffix(".svg").read_text()
    assert len({text.get_position() for text in figure.axes[0].texts}) == len(words)  # none lies on another


REFUSED = [("alexnet_krizhevsky_1gpu", "has one column"), ("alexnet_bvlc", "norm1: its window crosses the border")]


@pytest.mark.parametrize("name, why", REFUSED)
def test_networks_without_two_columns_apart_are_refused(name, why):
    with pytest.raises(UserError, match=why):
        Apart(timm.create_model(name, width_mult=0.125))
