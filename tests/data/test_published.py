"""Published data sets, as recipes name them."""

from alexnet_zoo.data.published import FALL_2009, PUBLISHED_SETS
from alexnet_zoo.declared import list_declared
from alexnet_zoo.train.recipe import load_recipe


def test_every_recipe_names_a_known_set():
    named = {load_recipe(path.stem).data for path in list_declared("reproduce")}
    assert named - {"digits", "photographs"} == set(PUBLISHED_SETS)


def test_a_rounded_number_leaves_room():
    assert FALL_2009.fits("test", 4_474_000, 10_184) and not FALL_2009.fits("test", 4_476_000, 10_184)
    assert not FALL_2009.fits("val", 0, 10_184) and not FALL_2009.fits("test", 4_450_000, 1000)
