"""The zoo: each network against what is written about it, and columns apart against the whole."""

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision

from alexnet_zoo.models import layer_shapes, model_names
from alexnet_zoo.models.modules import Dropout
from alexnet_zoo.train.columns import Layout, split

PARAMETERS = {
    "alexnet_bvlc": 60_965_224,
    "alexnet_krizhevsky": 60_965_224,
    "alexnet_krizhevsky_1gpu": 59_798_312,
    "alexnet_krizhevsky_6conv": 61_555_304,
    "alexnet_krizhevsky_net145": 60_965_224,
    "alexnet_krizhevsky_net145half": 59_798_312,
    "alexnet_krizhevsky_net146": 61_555_304,
    "alexnet_krizhevsky_net146_2011": 110_605_267,
    "alexnet_krizhevsky_net147": 60_965_224,
    "alexnet_krizhevsky_net148": 60_965_224,
    "alexnet_krizhevsky_net150": sum(
        (
            96 * (363 + 1) + 320 * (48 * 25 + 1) + 384 * (160 * 9 + 1) + (384 + 256) * (192 * 9 + 1),
            8192 * (128 * 36 + 1) + 4096 * (4096 + 1) + 1000 * (4096 + 1),
        )
    ),
    "alexnet_krizhevsky_ungrouped": 62_378_344,
    "alexnet_owt": 61_100_840,
    "caffenet_bvlc": 60_965_224,
}


def layers(model) -> list[str]:
    """The names of the layers, without those that do nothing in one process."""
    return [name for name, layer in model.named_children() if not isinstance(layer, torch.nn.Identity)]


def test_these_are_the_networks():
    assert model_names() == list(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name):
    with torch.device("meta"):
        assert sum(p.numel() for p in timm.create_model(name).parameters()) == PARAMETERS[name]


def test_conv6_is_over_pool5_and_reads_both_columns():
    model = timm.create_model("alexnet_krizhevsky_6conv", width_mult=1 / 8)
    names = layers(model)
    assert names[names.index("conv5") : names.index("fc6")] == "conv5 relu5 pool5 conv6 relu_conv6 flatten".split()
    assert model.conv6.groups == 1 and model.conv6.padding == (1, 1) and model.conv6.kernel_size == (3, 3)
    assert isinstance(model.relu_conv6, torch.nn.ReLU) and isinstance(model.relu6, torch.nn.ReLU)
    with torch.device("meta"):
        assert timm.create_model("alexnet_krizhevsky_6conv").conv6.weight.shape == (256, 256, 3, 3)


# Where the run differs from the text (the network's rows; the rest is the recipe's)


@pytest.mark.parametrize("name", ["alexnet_krizhevsky_net145", "alexnet_krizhevsky_net146"])
def test_as_run_order_of_layers_1_and_2(name):
    names = layers(timm.create_model(name, width_mult=1 / 8))
    first = "pad conv1 norm1 pool1 relu1 conv2 relu2 norm2 map_norm2 pool2 conv3".split()
    assert names[: len(first)] == first


def test_as_run_alpha_is_divided_by_n():
    model = timm.create_model("alexnet_krizhevsky_net145", width_mult=1 / 8)
    assert model.norm1.columns == model.norm2.columns == 2
    x = torch.randn(2, 12, 5, 5) * 100
    for norm in (model.norm1, model.norm2):
        by_column = [F.local_response_norm(own, 5, alpha=1e-4, beta=0.75, k=2.0) for own in x.chunk(2, 1)]
        torch.testing.assert_close(norm(x), torch.cat(by_column, 1))


def test_as_run_second_normalisation_is_within_each_map():
    norm = timm.create_model("alexnet_krizhevsky_net145", width_mult=1 / 8).map_norm2.double()
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64) * 50
    expected = torch.empty_like(x)
    for i in range(7):
        for j in range(6):
            near = x[:, :, max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3]
            expected[:, :, i, j] = x[:, :, i, j] / (1 + 1e-3 / 25 * near.square().sum((2, 3))) ** 0.75
    torch.testing.assert_close(norm(x), expected, rtol=1e-12, atol=0)
    assert torch.autograd.gradcheck(norm, x[:, :, :4, :4].clone().requires_grad_())
    assert norm(x.half()).dtype == torch.float16 and norm(x.half() * 100).isfinite().all()


@pytest.mark.parametrize("name", ["alexnet_krizhevsky_net145", "alexnet_krizhevsky_net146"])
def test_as_run_initialisation(name):
    model = timm.create_model(name, width_mult=1 / 2)
    for layer in ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "fc6", "fc7", "fc8"):
        if hasattr(model, layer):
            expected = 0.03 if layer in ("conv3", "conv4", "conv5", "conv6") else 0.01
            assert getattr(model, layer).weight.std().item() == pytest.approx(expected, rel=0.05)


def test_as_run_dropout_is_halved_at_test_time():
    model = timm.create_model("alexnet_krizhevsky_net145", width_mult=1 / 8)
    assert isinstance(model.drop6, Dropout) and isinstance(model.drop7, Dropout)


def test_net_146_starts_conv6_at_one():
    model = timm.create_model("alexnet_krizhevsky_net146", width_mult=1 / 8)
    assert (model.conv6.bias == 1).all() and (model.conv3.bias == 0).all()
    head = layers(timm.create_model("alexnet_krizhevsky_net146_2011", width_mult=1 / 8))[-5:]
    assert head == "fc7 relu7 drop7 bottleneck fc8".split()


def test_net_147_pools_without_overlap_and_rounds_up():
    with torch.device("meta"):
        shapes = layer_shapes(timm.create_model("alexnet_krizhevsky_net147"))
    names = "conv1 pool1 conv2 pool2 conv3 conv4 conv5 pool5".split()
    assert [shapes[name][1] for name in names] == [55, 28, 26, 13, 13, 13, 11, 6]


def test_net_148_does_not_normalise():
    names = layers(timm.create_model("alexnet_krizhevsky_net148", width_mult=1 / 8))
    assert names[:8] == "pad conv1 pool1 relu1 conv2 relu2 pool2 conv3".split()


def test_net_150_is_two_networks_up_to_fc8():
    """What one column sees moves no unit of the other."""
    model = timm.create_model("alexnet_krizhevsky_net150", width_mult=1 / 8, init_std="he").double().eval()
    assert model.meetings == ("fc8",)
    x = torch.randn(2, 3, 224, 224, dtype=torch.float64) * 60
    units = [model.forward_head(model.forward_features(x), pre_logits=True).chunk(2, 1)]
    with torch.no_grad():
        model.conv1.weight[:6] *= 2  # those of the first column
    units.append(model.forward_head(model.forward_features(x), pre_logits=True).chunk(2, 1))
    assert not torch.allclose(units[0][0], units[1][0]) and torch.equal(units[0][1], units[1][1])
    assert model.fc6.weight.shape == (1024, 576) and model.fc7.weight.shape == (512, 512)


# Caffe's and torchvision's


def test_caffes_networks():
    for name, order in (("alexnet_bvlc", "norm1 pool1"), ("caffenet_bvlc", "pool1 norm1")):
        model = timm.create_model(name, width_mult=1 / 8)
        assert " ".join(layers(model)).startswith(f"conv1 relu1 {order} conv2 relu2 {order.replace('1', '2')} conv3")
        assert model.pretrained_cfg["input_size"] == (3, 227, 227)
        x = torch.randn(2, 12, 5, 5) * 100
        torch.testing.assert_close(model.norm1(x), F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1.0))
        assert (model.drop6.eval()(x) == x).all()  # scaled in training instead
        bias = 0.1 if name == "alexnet_bvlc" else 1.0
        assert (model.conv2.bias == bias).all() and (model.fc7.bias == bias).all() and (model.conv3.bias == 0).all()
        assert model.fc6.weight.std().item() == pytest.approx(0.005, rel=0.05)


def test_torchvisions_network_drops_before_fc6_and_fc7():
    names = layers(timm.create_model("alexnet_owt", width_mult=1 / 8))
    assert names[names.index("flatten") + 1 :] == "drop6 fc6 relu6 drop7 fc7 relu7 fc8".split()
    with torch.device("meta"):
        ours = timm.create_model("alexnet_owt").parameters()
        theirs = torchvision.models.alexnet().parameters()
    assert [p.shape for p in ours] == [p.shape for p in theirs]


# Columns apart


@pytest.mark.parametrize(
    "name",
    [f"alexnet_krizhevsky{end}" for end in ("", "_6conv", "_net145", "_net146", "_net146_2011", "_net147", "_net150")],
)
@pytest.mark.parametrize("arguments", [{}, {"conv3_reads_both": False}], ids=["", "columns never meet in conv3"])
def test_two_columns_that_exchange_are_the_network(name, arguments):
    arguments = dict(width_mult=1 / 8, num_classes=5, init_std="he", **arguments)
    torch.manual_seed(0)
    whole = timm.create_model(name, **arguments).double().eval()
    columns = [timm.create_model(name, local_columns=1, **arguments).double().eval() for _ in range(2)]
    for column, part in enumerate(columns):
        part.load_state_dict(split(whole.state_dict(), Layout(columns=2, column=column)))
    x = torch.randn(2, 3, 224, 224, dtype=torch.float64) * 60
    expected = whole(x)
    maps = [x, x]
    for (layer, first), second in zip(columns[0].named_children(), columns[1].children()):
        if layer in whole.meetings:
            maps = [torch.cat(maps, dim=1)] * 2
        maps = [first(maps[0]), second(maps[1])]
    for logits in maps:
        torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())


def test_where_columns_meet():
    with torch.device("meta"):
        meetings = {name: timm.create_model(name).meetings for name in model_names()}
        apart = timm.create_model("alexnet_krizhevsky", conv3_reads_both=False)
    assert meetings["alexnet_krizhevsky"] == ("conv3", "fc6", "fc7", "fc8")
    assert meetings["alexnet_krizhevsky_6conv"] == ("conv3", "conv6", "fc6", "fc7", "fc8")
    assert meetings["alexnet_krizhevsky_1gpu"] == ()
    assert apart.meetings == ("fc6", "fc7", "fc8") and apart.held_whole == ("fc8",)


def test_columns_with_a_joint_lrn_cannot_be_apart():
    with pytest.raises(ValueError, match="reads the maps of both columns"):
        timm.create_model("alexnet_bvlc", local_columns=1, width_mult=1 / 8)
