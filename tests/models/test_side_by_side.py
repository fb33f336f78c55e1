"""Which AlexNet is this? Differences that are known from elsewhere, found in the lists."""

import pytest

from alexnet_zoo.errors import UserError
from alexnet_zoo.models import model_names
from alexnet_zoo.models.side_by_side import SAME, compare_networks, table_of_differences


def differences(first: str, second: str) -> dict[tuple[str, str], tuple]:
    """What is marked: (mark, name) -> the texts of both. How layers start is left out."""
    rows = [row for row in compare_networks(first, second) if row.mark != SAME and row.name != "  starts"]
    return {(row.mark, row.name): (row.first, row.second) for row in rows}


def order(first: str, second: str, side: str) -> list[str]:
    rows = compare_networks(first, second)
    return [row.name for row in rows if getattr(row, side) is not None and row.name != "  starts"]


def test_caffes_two_differ_in_the_order_of_norm_and_pool_alone():
    found = differences("alexnet_bvlc", "caffenet_bvlc")
    assert {name for _, name in found} <= {"norm1", "pool1", "norm2", "pool2"} and len(found) == 4
    layers = [order("alexnet_bvlc", "caffenet_bvlc", side) for side in ("first", "second")]
    assert "relu1 norm1 pool1 conv2 relu2 norm2 pool2" in " ".join(layers[0])
    assert "relu1 pool1 norm1 conv2 relu2 pool2 norm2" in " ".join(layers[1])
    starts = [row for row in compare_networks("alexnet_bvlc", "caffenet_bvlc") if row.name == "  starts"]
    assert (starts[0].first, starts[0].second) == ("std 0.01, bias 0.1", "std 0.01, bias 1")
    assert len(starts) == 5  # conv2, conv4, conv5, fc6, fc7


def test_torchvisions_has_no_lrn_no_groups_dropout_before_and_other_widths():
    found = differences("alexnet_krizhevsky", "alexnet_owt")
    assert found["|", "columns"] == ("2", "1")
    assert found["|", "conv1"] == ("96 of 11x11, stride 4, to 55x55", "64 of 11x11, stride 4, padding 2, to 55x55")
    assert found["|", "conv2"] == ("256 of 5x5, padding 2, groups 2, to 27x27", "192 of 5x5, padding 2, to 27x27")
    assert found["|", "conv3"][0] == "384 of 3x3, padding 1, reads both columns, to 13x13"
    assert found["|", "image"] == ("224 pixels, zeros: 3 right, 3 below", "224 pixels")
    assert "divided by 58.4 57.1 57.4" in found["|", "input"][1] and "divided" not in found["|", "input"][0]
    assert {("<", "norm1"), ("<", "norm2")} < set(found)
    for name in ("drop6", "drop7"):
        assert found["<", name] == ("p 0.5, scaled at test time", None)
        assert found[">", name] == (None, "p 0.5, scaled in training")
    assert "drop6 fc6 relu6 drop7 fc7 relu7 fc8" in " ".join(order("alexnet_krizhevsky", "alexnet_owt", "second"))


def test_caffes_against_the_papers():
    found = differences("alexnet_krizhevsky", "alexnet_bvlc")
    lrn = "LRN over 5, k {}, alpha {}, beta 0.75, {}"
    norm = (lrn.format(2, "0.0001", "in each column"), lrn.format(1, "2e-05", "across columns"))
    assert found["|", "norm1"] == found["|", "norm2"] == norm
    assert found["|", "image"][1] == "227 pixels"
    assert {name for _, name in found} == {"input", "image", "norm1", "norm2", "drop6", "drop7"}


def test_pooling_of_net_147():
    found = differences("alexnet_krizhevsky_net145", "alexnet_krizhevsky_net147")
    assert found["|", "pool1"] == ("maxima of 3x3, rounds up, to 27x27", "maxima of 2x2, rounds up, to 28x28")
    assert {name for _, name in found} == {"pool1", "conv2", "pool2", "conv5", "pool5"}


def test_the_table_fits_a_terminal_for_any_two():
    for name in model_names():
        lines = table_of_differences("alexnet_krizhevsky", name).splitlines()
        assert max(map(len, lines)) <= 80
        same = name == "alexnet_krizhevsky"
        assert any(line[0:1] in ("<", ">", "|") for line in lines[1:-1]) != same
    with pytest.raises(UserError, match="did you mean alexnet_bvlc"):
        table_of_differences("alexnet_bvlc", "alexnet_bvcl")
