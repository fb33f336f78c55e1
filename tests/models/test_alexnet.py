import numpy as np
import pytest
import timm
import torch

import alexnet_zoo  # noqa: F401
from alexnet_zoo.models.modules import Dropout


def test_maps_are_the_papers():
    model = timm.create_model("alexnet_krizhevsky", width_mult=0.125).eval()
    sizes = {}
    for name, layer in model.named_children():
        layer.register_forward_hook(lambda _, __, y, name=name: sizes.update({name: y.shape[-1]}))
    model(torch.zeros(1, 3, 224, 224))
    assert [sizes[name] for name in ("conv1", "pool1", "conv2", "pool2", "conv5", "pool5")] == [55, 27, 27, 13, 13, 6]


def test_the_last_window_overhangs_right_and_bottom_by_three_zeros():
    model = timm.create_model("alexnet_krizhevsky", width_mult=0.125).eval()
    x = torch.randn(1, 3, 224, 224)
    beyond = torch.zeros(1, 3, 227, 227)
    beyond[:, :, :224, :224] = x
    expected = torch.nn.functional.conv2d(beyond, model.conv1.weight, model.conv1.bias, stride=4)
    torch.testing.assert_close(model.conv1(model.pad(x)), expected)


def forward_in_numpy(state: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Section 3.5 for one image (3, H, W), written from the text; column by column, loop by loop."""

    def conv(x, name, stride, padding, groups):
        w, b = state[f"{name}.weight"], state[f"{name}.bias"]
        x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
        size = (x.shape[1] - w.shape[2]) // stride + 1
        out = np.empty((len(w), size, size))
        for o in range(len(w)):
            group = o // (len(w) // groups)
            own = x[group * w.shape[1] : (group + 1) * w.shape[1]]
            for i in range(size):
                for j in range(size):
                    window = own[:, i * stride : i * stride + w.shape[2], j * stride : j * stride + w.shape[3]]
                    out[o, i, j] = (window * w[o]).sum() + b[o]
        return out

    def pool(x):
        size = (x.shape[1] - 3) // 2 + 1
        cut = [[x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((1, 2)) for j in range(size)] for i in range(size)]
        return np.array(cut).transpose(2, 0, 1)

    def norm(x):
        columns = np.split(x, 2)
        for column in columns:
            squares = column**2
            sums = [squares[max(0, i - 2) : i + 3].sum(0) for i in range(len(column))]
            column /= (2 + 1e-4 * np.array(sums)) ** 0.75
        return np.concatenate(columns)

    def relu(x):
        return np.maximum(x, 0)

    x = np.pad(x, ((0, 0), (0, 3), (0, 3)))
    x = pool(norm(relu(conv(x, "conv1", 4, 0, groups=1))))
    x = pool(norm(relu(conv(x, "conv2", 1, 2, groups=2))))
    x = relu(conv(x, "conv3", 1, 1, groups=1))
    x = relu(conv(x, "conv4", 1, 1, groups=2))
    x = pool(relu(conv(x, "conv5", 1, 1, groups=2)))
    x = 0.5 * relu(state["fc6.weight"] @ x.ravel() + state["fc6.bias"])
    x = 0.5 * relu(state["fc7.weight"] @ x + state["fc7.bias"])
    return state["fc8.weight"] @ x + state["fc8.bias"]


def test_the_network_is_section_3_5_in_numpy():
    torch.manual_seed(0)
    model = timm.create_model("alexnet_krizhevsky", width_mult=1 / 16, img_size=96, num_classes=7, init_std=0.1)
    model = model.double().eval()
    x = torch.randn(1, 3, 96, 96, dtype=torch.float64) * 60
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    np.testing.assert_allclose(model(x)[0].detach().numpy(), forward_in_numpy(state, x[0].numpy()), rtol=1e-9)


def test_conv2_4_5_do_not_see_the_other_column():
    model = timm.create_model("alexnet_krizhevsky", width_mult=0.125)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    with torch.device("meta"):
        whole = {name: tuple(p.shape) for name, p in timm.create_model("alexnet_krizhevsky").named_parameters()}
    assert whole["conv2.weight"] == (256, 48, 5, 5)
    assert whole["conv3.weight"] == (384, 256, 3, 3)
    assert whole["conv4.weight"] == (384, 192, 3, 3)
    assert whole["conv5.weight"] == (256, 192, 3, 3)
    assert shapes["conv2.weight"] == (32, 6, 5, 5)


def test_initialisation():
    model = timm.create_model("alexnet_krizhevsky")
    for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"):
        layer = getattr(model, name)
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert abs(layer.weight.mean().item()) < 5e-4
        one = name in ("conv2", "conv4", "conv5", "fc6", "fc7")
        assert (layer.bias == (1.0 if one else 0.0)).all()


def test_dropout_masks_in_training_and_halves_at_test_time():
    x = torch.ones(200, 500)
    drop = Dropout(0.5)
    torch.manual_seed(0)
    kept = drop(x)
    assert set(kept.unique().tolist()) == {0.0, 1.0}  # not scaled up by 2
    assert kept.mean().item() == pytest.approx(0.5, abs=0.01)
    assert (drop.eval()(x) == 0.5).all()


def test_ablations_are_arguments():
    x = torch.randn(1, 3, 224, 224)

    def layers(**args):
        model = timm.create_model("alexnet_krizhevsky", width_mult=0.125, **args)
        assert model(x).shape == (1, 1000)
        return dict(model.named_children())

    assert isinstance(layers(act_layer="tanh")["relu1"], torch.nn.Module)
    assert not any(name.startswith("norm") for name in layers(lrn=False))
    assert layers(pool_size=2)["pool1"].kernel_size == 2
    assert "conv4" not in layers(without=("conv4",))
    assert layers(conv3_reads_both=False)["conv3"].groups == 2
    assert layers()["conv3"].groups == 1


def test_layers_that_cannot_be_left_out():
    for name in ("conv1", "conv6", "fc6"):
        with pytest.raises(ValueError, match=f"without {name}: layers conv2 to conv5 can be left out"):
            timm.create_model("alexnet_krizhevsky", width_mult=0.125, without=(name,))


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError):
        timm.create_model("alexnet_krizhevsky", pool_siez=2)


def test_images_that_nothing_is_left_of():
    with pytest.raises(ValueError, match="img_size 40 is too small"):
        timm.create_model("alexnet_krizhevsky", width_mult=0.125, img_size=40)


def test_widths_that_columns_cannot_share():
    with pytest.raises(ValueError, match="conv2: 3 columns cannot share its width of 256"):
        timm.create_model("alexnet_krizhevsky", columns=3)
    with pytest.raises(ValueError, match="fc6: 2 columns cannot share its width of 1001"):
        timm.create_model("alexnet_krizhevsky", fc_width=1001)
    model = timm.create_model("alexnet_krizhevsky", columns=3, width_mult=0.1875)
    assert model.conv2.groups == 3 and model.norm1.columns == 3
    assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


def test_batch_normalisation_in_place_of_lrn():
    model = timm.create_model("alexnet_krizhevsky_net145", width_mult=0.125, norm="batch", local_columns=1)
    assert type(model.norm1) is type(model.norm2) is torch.nn.BatchNorm2d and not hasattr(model, "map_norm2")
    assert model.norm1.num_features == 6  # of one column
    with pytest.raises(ValueError, match="norm layer"):
        timm.create_model("alexnet_krizhevsky", norm="layer")
