"""Public weights without the network: files of the published formats, written here with the formats' own libraries."""

import hashlib
import pickle

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
import torchvision
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from onnx import helper, numpy_helper
from safetensors.torch import load_file, save_file

import alexnet_zoo  # noqa: F401
from alexnet_zoo.errors import UserError
from alexnet_zoo.models import weights
from alexnet_zoo.models.convert import import_weights
from alexnet_zoo.models.fit import load_pretrained
from alexnet_zoo.models.weights import LAYERS, read_weights

CAFFE_ORDER = {
    "alexnet_bvlc": "conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2",
    "caffenet_bvlc": "conv1 relu1 pool1 norm1 conv2 relu2 pool2 norm2",
}
REST = " conv3 relu3 conv4 relu4 conv5 relu5 pool5 fc6 relu6 drop6 fc7 relu7 drop7 fc8 prob"
SMALL = dict(width_mult=1 / 8, num_classes=7)


def caffe_net(name: str):
    """An empty NetParameter, from the fields as caffe.proto declares them."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"test_{name}.proto", package="test", syntax="proto2")

    def message(name, /, **fields):
        declared = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            added = declared.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".test.{kind}"
            else:
                added.type = kind
                added.options.packed = repeated and kind != kinds.TYPE_STRING

    text, integer, real = kinds.TYPE_STRING, kinds.TYPE_INT32, kinds.TYPE_FLOAT
    message("BlobShape", dim=(1, kinds.TYPE_INT64, True))
    legacy = {side: (number, integer, False) for number, side in enumerate(("num", "channels", "height", "width"), 1)}
    message("BlobProto", **legacy, data=(5, real, True), diff=(6, real, True), shape=(7, "BlobShape", False))
    old = dict(bottom=(2, text, True), top=(3, text, True), name=(4, text, False), type=(5, integer, False))
    message("V1LayerParameter", **old, blobs=(6, "BlobProto", True))
    new = dict(name=(1, text, False), type=(2, text, False), bottom=(3, text, True), top=(4, text, True))
    message("LayerParameter", **new, blobs=(7, "BlobProto", True))
    layers = dict(layers=(2, "V1LayerParameter", True), layer=(100, "LayerParameter", True))
    message("NetParameter", name=(1, text, False), **layers)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.NetParameter"))(name=name)


def write_caffemodel(path, name: str, state: dict, old: bool) -> None:
    """A .caffemodel of weights that read BGR: V1 layers with four-dimensional blobs, or new layers with shapes."""
    net = caffe_net(name)
    for layer_name in (CAFFE_ORDER[name] + REST).split():
        layer = (net.layers if old else net.layer).add(name=layer_name)
        if layer_name in LAYERS:
            for kind in ("weight", "bias"):
                value = state[f"{layer_name}.{kind}"].numpy()
                blob = layer.blobs.add()
                blob.data.extend(value.ravel().tolist())
                if old:
                    blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - value.ndim) + value.shape
                else:
                    blob.shape.dim.extend(value.shape)
    path.write_bytes(net.SerializeToString())


def caffe_onnx(name: str, state: dict) -> onnx.ModelProto:
    """Caffe's network layer by layer, in ONNX's own operators, from the prototxt; input BGR."""
    nodes, tensors, last = [], [], "data"
    for layer in (CAFFE_ORDER[name] + REST).split():
        inputs = [last]
        if layer in LAYERS:
            for kind in ("weight", "bias"):
                tensors.append(numpy_helper.from_array(state[f"{layer}.{kind}"].numpy(), f"{layer}_{kind[0]}_0"))
                inputs.append(tensors[-1].name)
        if layer == "fc6":
            nodes.append(helper.make_node("Flatten", [last], ["flat"]))
            inputs[0] = "flat"
        operator, attributes = {
            "conv": ("Conv", {}),
            "relu": ("Relu", {}),
            "norm": ("LRN", dict(size=5, alpha=1e-4, beta=0.75, bias=1.0)),
            "pool": ("MaxPool", dict(kernel_shape=[3, 3], strides=[2, 2])),
            "drop": ("Identity", {}),
            "prob": ("Softmax", dict(axis=1)),
        }.get(layer.rstrip("12345678"), ("Gemm", dict(transB=1)))
        if layer == "conv1":
            attributes = dict(strides=[4, 4])
        elif operator == "Conv":
            pad = 2 if layer == "conv2" else 1
            attributes = dict(pads=[pad] * 4, group=1 if layer == "conv3" else 2)
        nodes.append(helper.make_node(operator, inputs, [layer], **attributes))
        last = layer
    image = helper.make_tensor_value_info("data", onnx.TensorProto.FLOAT, ["N", 3, 227, 227])
    outputs = [helper.make_tensor_value_info(out, onnx.TensorProto.FLOAT, ["N", "C"]) for out in ("fc8", "prob")]
    graph = helper.make_graph(nodes, name, [image], outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture(params=["alexnet_bvlc", "caffenet_bvlc"])
def caffe(request):
    """One of Caffe's networks, small: its name, weights that read BGR, and an ONNX graph of the layers."""
    torch.manual_seed(0)
    state = timm.create_model(request.param, **SMALL, init_std="he").state_dict()
    return request.param, state, caffe_onnx(request.param, state)


def assert_is_the_graph(model, graph: onnx.ModelProto) -> None:
    rgb = torch.randn(2, 3, 227, 227) * 60
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(["fc8"], {"data": rgb.numpy()[:, ::-1].copy()})[0]
    assert np.abs(expected).max() > 1  # the comparison would see a difference
    with torch.no_grad():
        np.testing.assert_allclose(model.eval()(rgb).numpy(), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("old", [True, False], ids=["V1 layers", "new layers"])
def test_caffemodel(tmp_path, caffe, old):
    name, state, graph = caffe
    write_caffemodel(tmp_path / "some.caffemodel", name, state, old)
    assert read_weights(tmp_path / "some.caffemodel").model == name
    overlay = dict(file=str(tmp_path / "some.caffemodel"), custom_load=True)
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **SMALL)
    assert_is_the_graph(model, graph)


def test_onnx_model_zoo(tmp_path, caffe):
    name, state, graph = caffe
    onnx.save(graph, tmp_path / "bvlcalexnet.onnx")
    assert read_weights(tmp_path / "bvlcalexnet.onnx").model == name
    model = timm.create_model(name, **SMALL)
    load_pretrained(model, tmp_path / "bvlcalexnet.onnx")
    assert_is_the_graph(model, graph)


def test_onnx_of_other_networks_is_refused(tmp_path, caffe):
    """Such as our own: it reads RGB."""
    name, state, graph = caffe
    del graph.graph.node[2 if name == "alexnet_bvlc" else 3]  # norm1
    del graph.graph.node[5 if name == "alexnet_bvlc" else 6]  # norm2
    onnx.save(graph, tmp_path / "other.onnx")
    with pytest.raises(UserError, match="not one of Caffe's networks"):
        read_weights(tmp_path / "other.onnx")


def test_torchvision_is_imported_and_computes_the_same(tmp_path):
    theirs = torchvision.models.alexnet(num_classes=10).eval()
    torch.save(theirs.state_dict(), tmp_path / "alexnet.pth")
    out, name = import_weights(tmp_path / "alexnet.pth")
    assert (out, name) == (tmp_path / "alexnet.safetensors", "alexnet_owt")
    x = torch.randn(2, 3, 224, 224)
    ours = timm.create_model("alexnet_owt", num_classes=10, checkpoint_path=out).eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)

    # the same as timm loads it: through the file, or a state_dict
    for source in (dict(file=str(tmp_path / "alexnet.pth")), dict(state_dict=theirs.state_dict())):
        overlay = dict(num_classes=10, **source)
        again = timm.create_model("alexnet_owt", pretrained=True, num_classes=10, pretrained_cfg_overlay=overlay)
        assert torch.equal(again.fc6.weight, theirs.classifier[1].weight)


def test_another_head_and_other_channels(tmp_path, caffe):
    name, state, _ = caffe
    write_caffemodel(tmp_path / "some.caffemodel", name, state, old=True)
    overlay = dict(file=str(tmp_path / "some.caffemodel"), custom_load=True)
    model = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay=overlay, width_mult=1 / 8, num_classes=3, in_chans=1
    )
    assert model.fc8.weight.shape == (3, 512)
    torch.testing.assert_close(model.conv1.weight, state["conv1.weight"].sum(1, keepdim=True))
    assert torch.equal(model.fc7.weight, state["fc7.weight"])

    options = dict(pretrained=True, pretrained_cfg_overlay=overlay, width_mult=1 / 8)
    headless = timm.create_model(name, in_chans=1, num_classes=0, **options)
    assert torch.equal(headless.fc7.bias, state["fc7.bias"])
    features = timm.create_model(name, features_only=True, **options)
    assert torch.equal(features.conv5.weight, state["conv5.weight"])


def test_published_files_are_checked_against_their_hash(tmp_path, monkeypatch):
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "bvlc_alexnet.caffemodel").write_bytes(b"something else")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match="sha1 is .* the published file's is 9116a64c"):
        timm.create_model("alexnet_bvlc", pretrained=True, width_mult=1 / 8)


def test_pretrained_is_downloaded_into_timms_cache_and_checked(tmp_path, monkeypatch, caffe):
    name, state, graph = caffe
    file = tmp_path / "served" / f"{name}.caffemodel"
    file.parent.mkdir()
    write_caffemodel(file, name, state, old=True)
    monkeypatch.setitem(weights.PUBLISHED, file.name, ("sha1", hashlib.sha1(file.read_bytes()).hexdigest()))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    overlay = dict(url=file.as_uri(), custom_load=True)
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **SMALL)
    assert (tmp_path / "cache" / "hub" / "checkpoints" / file.name).exists()
    assert_is_the_graph(model, graph)


def test_safetensors_that_fit_several_networks_need_a_name(tmp_path):
    state = timm.create_model("alexnet_krizhevsky", num_classes=2).state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match="does not say which network.*--model.*alexnet_bvlc.*alexnet_krizhevsky_net145"):
        import_weights(tmp_path / "weights.safetensors", tmp_path / "out.safetensors")
    with pytest.raises(UserError, match="is the file to import"):
        import_weights(tmp_path / "weights.safetensors", model="alexnet_krizhevsky")
    with pytest.raises(UserError, match="does not fit alexnet_owt"):
        import_weights(tmp_path / "weights.safetensors", tmp_path / "out.safetensors", model="alexnet_owt")
    import_weights(tmp_path / "weights.safetensors", tmp_path / "out.safetensors", model="alexnet_krizhevsky")
    assert torch.equal(load_file(tmp_path / "out.safetensors")["fc8.weight"], state["fc8.weight"])
    assert read_weights(tmp_path / "out.safetensors").model == "alexnet_krizhevsky"


class Executed:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


@pytest.mark.parametrize("ending", [".caffemodel", ".onnx", ".pth", ".safetensors"])
def test_damaged_files_give_one_line(tmp_path, caffe, ending):
    name, state, graph = caffe
    whole = tmp_path / f"whole{ending}"
    if ending == ".caffemodel":
        write_caffemodel(whole, name, state, old=False)
    elif ending == ".onnx":
        onnx.save(graph, whole)
    elif ending == ".pth":
        torch.save(state, whole)
    else:
        save_file(state, whole)
    data = whole.read_bytes()
    read_weights(whole)
    damaged = {"empty": b"", "cut": data[: len(data) // 2], "header": data[:100], "random": np.random.bytes(5000)}
    for kind, content in damaged.items():
        path = tmp_path / f"{kind}{ending}"
        path.write_bytes(content)
        with pytest.raises(UserError, match=str(path)) as raised:
            read_weights(path)
        assert "\n" not in str(raised.value)


def test_pickles_are_not_executed(tmp_path):
    torch.save({"conv1.weight": Executed()}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Executed()))
    for path in tmp_path.iterdir():
        with pytest.raises(UserError, match="not a whole .pth file of weights"):
            read_weights(path)


def test_weights_of_other_networks_and_in_other_files_are_refused(tmp_path):
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="fit no network of ours"):
        import_weights(tmp_path / "other.pth")
    torch.save(["a list"], tmp_path / "list.pth")
    with pytest.raises(UserError, match="holds a list"):
        read_weights(tmp_path / "list.pth")

    tensor = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    graph = helper.make_graph([], "hostile", [], [], [tensor])
    onnx.save(helper.make_model(graph), tmp_path / "external.onnx")
    with pytest.raises(UserError, match="in other files, which are not read"):
        read_weights(tmp_path / "external.onnx")
    (tmp_path / "weights.npz").touch()
    with pytest.raises(UserError, match="unknown kind of file"):
        read_weights(tmp_path / "weights.npz")
    with pytest.raises(UserError, match="no such file"):
        read_weights(tmp_path / "nowhere.pth")


def test_values_that_are_not_finite_are_refused(tmp_path):
    state = timm.create_model("alexnet_owt", num_classes=2).state_dict()
    state["fc8.bias"][0] = float("nan")
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(UserError, match="fc8.bias holds values that are not finite"):
        import_weights(tmp_path / "nan.safetensors", tmp_path / "out.safetensors")
