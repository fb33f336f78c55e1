import pytest
import timm
import torch

from alexnet_zoo.errors import UserError
from alexnet_zoo.models.count import layers_of, table_of_layers, table_of_models, total


def by_name(layers):
    return {layer.name: layer.cost for layer in layers}


def test_the_papers_network_by_hand():
    layers = layers_of("alexnet_krizhevsky")
    costs = by_name(layers)
    assert total(layers).parameters == 60_965_224
    assert costs["conv2"].parameters == 256 * 48 * 5 * 5 + 256
    assert costs["conv2"].multiply_adds == 256 * 48 * 5 * 5 * 27 * 27
    assert costs["fc6"].multiply_adds == 9216 * 4096
    assert total(layers).multiply_adds == sum(
        (
            96 * 363 * 55**2,
            256 * 48 * 25 * 27**2,
            (384 * 256 + 384 * 192 + 256 * 192) * 9 * 13**2,
            9216 * 4096 + 4096 * 4096 + 4096 * 1000,
        )
    )
    assert costs["relu1"].kept == 128 * 96 * 55 * 55 * 4
    assert costs["norm1"].kept == 0  # beyond its input, which is the ReLU's output and counted there
    assert total(layers).received == 0


def test_kept_is_what_autograd_keeps():
    """On real tensors: the bytes of distinct storages that a training step saves."""
    arguments = dict(width_mult=1 / 8)
    model = timm.create_model("alexnet_krizhevsky_6conv", **arguments)
    storages = {p.untyped_storage().data_ptr(): 0 for p in model.parameters()}
    alive = []

    def pack(tensor):
        alive.append(tensor)
        storages.setdefault(tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(torch.zeros(4, 3, 224, 224))
    layers = layers_of("alexnet_krizhevsky_6conv", batch_size=4, **arguments)
    assert total(layers).kept == pytest.approx(sum(storages.values()), rel=1e-3)


def test_each_device_holds_half_and_fc8():
    whole, column = by_name(layers_of("alexnet_krizhevsky")), by_name(layers_of("alexnet_krizhevsky", per_device=True))
    for name, cost in column.items():
        share = 1 if name in ("fc8", "pad") else 2
        assert cost.parameters == whole[name].parameters / share
        assert cost.multiply_adds == whole[name].multiply_adds / share
    received = {name: cost.received for name, cost in column.items() if cost.received}
    assert received == {
        "conv3": 128 * 13 * 13 * 4,
        "fc6": 128 * 6 * 6 * 4,
        "fc7": 2048 * 4,
        "fc8": 2048 * 4,
    }


def test_tables():
    models = table_of_models()
    assert "alexnet_owt                        61,100,840" in models
    assert models.count("on each of two devices") == 8  # not Caffe's, whose LRN reads both columns
    layers = table_of_layers("alexnet_krizhevsky_6conv")
    assert "conv6          256 x 6 x 6          590,080" in layers and "on each of two devices" in layers
    assert "two devices" not in table_of_layers("alexnet_owt")
    with pytest.raises(UserError, match="no such network"):
        table_of_layers("resnet50")
