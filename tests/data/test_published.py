"""Published data sets, as recipes name them."""

import pytest

from alexnet_zoo.data.published import CIFAR_10, FALL_2009, FALL_2011, ILSVRC_2012, PUBLISHED_SETS
from alexnet_zoo.declared import list_declared
from alexnet_zoo.train.recipe import load_recipe


def test_every_recipe_names_a_known_set():
    named = {load_recipe(path.stem).data for path in list_declared("reproduce")}
    assert named - {"digits", "photographs"} == set(PUBLISHED_SETS)


def test_a_rounded_number_leaves_room():
    assert FALL_2009.fits("test", 4_474_000, 10_184) and not FALL_2009.fits("test", 4_476_000, 10_184)
    assert not FALL_2009.fits("val", 0, 10_184) and not FALL_2009.fits("train", 4_450_000, 10_184)
    assert FALL_2011.fits("train", 14_150_000, 21_841) and not FALL_2011.fits("train", 12_780_000, 21_841)
    assert not FALL_2009.fits("test", 4_450_000, 1000)


@pytest.mark.parametrize(
    "published, split, most",
    [
        (FALL_2009, "test", 300),
        (FALL_2011, "val", 5),
        (ILSVRC_2012, "train", 128),
        (ILSVRC_2012, "val", 0),
        (CIFAR_10, "test", 0),
    ],
)
def test_a_set_may_lack_one_photograph_in_ten_thousand(published, split, most):
    assert published.may_lack(split, most) and not published.may_lack(split, most + 1)
