import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from alexnet_zoo.errors import UserError
from alexnet_zoo.onnx.evaluate import softmax
from alexnet_zoo.onnx.export import compare, export
from alexnet_zoo.onnx.preprocessing import Preprocessing, crops_of


def layer_by_layer(weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Section 3.5 in torch's functions, each column computed on its own, so that nothing is shared with models/."""

    def conv(name, x, columns=1, **kwargs):
        kernels, biases = weights[f"{name}.weight"].chunk(columns), weights[f"{name}.bias"].chunk(columns)
        parts = zip(x.chunk(columns, dim=1), kernels, biases, strict=True)
        return torch.cat([F.relu(F.conv2d(part, kernel, bias, **kwargs)) for part, kernel, bias in parts], dim=1)

    def norm_and_pool(x):
        # torch divides alpha by 5, the paper does not
        columns = [F.local_response_norm(column, 5, alpha=5e-4, beta=0.75, k=2.0) for column in x.chunk(2, dim=1)]
        return F.max_pool2d(torch.cat(columns, dim=1), 3, 2)

    def fc(name, x):
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    x = norm_and_pool(conv("conv1", F.pad(x, (0, 3, 0, 3)), stride=4))
    x = norm_and_pool(conv("conv2", x, columns=2, padding=2))
    x = conv("conv3", x, padding=1)
    x = conv("conv4", x, columns=2, padding=1)
    x = F.max_pool2d(conv("conv5", x, columns=2, padding=1), 3, 2)
    for name in ("fc6", "fc7"):
        x = 0.5 * F.relu(fc(name, x.flatten(1)))
    return fc("fc8", x)


@pytest.fixture(scope="module")
def images(digits) -> torch.Tensor:
    return crops_of(digits.split("test"), slice(0, 7), 1, 112, torch.from_numpy(digits.mean))


def test_the_file_computes_the_network_at_any_batch_size(exported, images):
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    expected = layer_by_layer(exported.model.state_dict(), images).numpy()
    for batch in (1, 7):
        (logits,) = session.run(["logits"], {"input": images[:batch].numpy()})
        np.testing.assert_allclose(logits, expected[:batch], atol=2e-4)


def test_the_graph_speaks_the_papers_names(exported):
    model = onnx.load(exported.path)
    nodes = [node.name for node in model.graph.node]
    layers = (
        "conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5 "
        "fc6 relu6 fc7 relu7 fc8"
    )
    assert [name for name in nodes if name in layers.split()] == layers.split()
    assert len(set(nodes)) == len(nodes)
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name, weight in exported.model.state_dict().items():
        np.testing.assert_array_equal(tensors[name], weight.numpy())
    assert tensors["norm1.weight"].shape == (24, 12, 1, 1)  # each map sees those of its own column only
    for end, name in ((model.graph.input, "input"), (model.graph.output, "logits")):
        assert [value.name for value in end] == [name]
        assert end[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert __file__.rsplit("/tests/")[0].encode() not in exported.path.read_bytes()  # no folder of this machine


def test_metadata_comes_back(exported, digits):
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    assert found == exported.metadata | {"target": "plain"}
    assert found["param_count"] == str(sum(p.numel() for p in exported.model.parameters()))
    again = Preprocessing.from_metadata(found, exported.path)
    assert (again.classes, again.image_size, again.crop_size, again.scale) == (digits.classes, 128, 112, 1.0)
    np.testing.assert_array_equal(again.mean_image, digits.mean)


def test_export_leaves_the_model_alone_and_says_nothing(tmp_path, capfd):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(3 * 4 * 4, 2)).train()
    export(model, tmp_path / "deep" / "net.onnx", {}, (3, 4, 4))
    assert model.training and model[1].training
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["net.onnx"]
    assert capfd.readouterr() == ("", "")


def test_a_failed_export_leaves_the_old_file(tmp_path):
    class Unknown(nn.Module):
        def forward(self, x):
            return torch.linalg.eigvals(x[:, 0]).real  # ONNX has no such operator

    path = tmp_path / "net.onnx"
    path.write_bytes(b"the old one")
    with pytest.raises(UserError, match="Unknown: cannot be exported") as error:
        export(Unknown(), path, {}, (3, 4, 4))
    assert "\n" not in str(error.value)
    assert path.read_bytes() == b"the old one" and len(list(tmp_path.iterdir())) == 1


def test_compare_measures_and_refuses(exported, another, images):
    logits = layer_by_layer(exported.model.state_dict(), images).numpy()
    other = layer_by_layer(another.model.state_dict(), images).numpy()
    assert compare(exported.model, exported.path, images) < 1e-4
    wide = compare(exported.model, another.path, images, tolerance=1.0)
    assert wide == pytest.approx(np.abs(softmax(logits) - softmax(other)).max(), abs=1e-4)
    with pytest.raises(UserError, match="differ from torch's"):
        compare(exported.model, another.path, images)
    with pytest.raises(UserError, match="not finite"):
        compare(exported.model, exported.path, torch.full_like(images, float("nan")))
