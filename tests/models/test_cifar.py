import numpy as np
import pytest
import timm
import torch

import alexnet_zoo  # noqa: F401
from alexnet_zoo.models.cifar import LocallyConnected


def test_a_locally_connected_layer_place_by_place():
    torch.manual_seed(0)
    layer = LocallyConnected(3, 4, side=5).double()
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    expected = np.empty((2, 4, 5, 5))
    for i in range(5):
        for j in range(5):
            window = padded[:, :, i : i + 3, j : j + 3].reshape(2, -1)
            expected[:, :, i, j] = window @ weight[i * 5 + j] + bias[:, i * 5 + j]
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-10)


def test_with_equal_kernels_it_is_a_convolution():
    conv = torch.nn.Conv2d(3, 4, 3, padding=1)
    layer = LocallyConnected(3, 4, side=6)
    with torch.no_grad():
        layer.weight.copy_(conv.weight.flatten(1).T)
        layer.bias.copy_(conv.bias[:, None])
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(layer(x), conv(x))


@pytest.mark.parametrize("name, size", [("18pct", 32), ("13pct", 24), ("11pct", 24)])
def test_shapes_and_initialisation(name, size):
    model = timm.create_model(f"cifar10_krizhevsky_{name}", img_size=size)
    assert model(torch.zeros(2, 3, size, size)).shape == (2, 10)
    assert model.conv1.weight.std().item() == pytest.approx(1e-4, rel=0.1)
    assert ("norm1" in dict(model.named_children())) == (name == "11pct")


def test_the_pair_of_section_3_3_is_one_network_with_and_without_lrn():
    without = timm.create_model("cifar10_krizhevsky_13pct", img_size=24)
    normalised = timm.create_model("cifar10_krizhevsky_13pct", img_size=24, lrn=True)
    shapes = [{name: tensor.shape for name, tensor in net.state_dict().items()} for net in (without, normalised)]
    assert shapes[0] == shapes[1]
    names = [name for name, _ in normalised.named_children()]
    assert [name for name in names if not name.startswith("norm")] == [name for name, _ in without.named_children()]
    assert names[:8] == "conv1 act1 pool1 norm1 conv2 act2 norm2 pool2".split()


def test_pooled_maps_halve():
    model = timm.create_model("cifar10_krizhevsky_13pct", img_size=24)
    assert model.local3.weight.shape == (36, 64 * 9, 32) and model.fc10.in_features == 32 * 36
