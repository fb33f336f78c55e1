"""A network and data small enough to train in a second."""

import pytest

from alexnet_zoo.data.prepared.digits import prepare_digits
from alexnet_zoo.train.recipe import load_recipe


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    return prepare_digits(tmp_path_factory.mktemp("digits") / "prepared", 72)


@pytest.fixture
def small_recipe():
    """The digits' recipe with a network of an eighth of the width, on 64 of 72 pixels; overrides are added."""

    def load(*overrides: str):
        small = ["image_size=72", "crop_size=64", "epochs=1", "model_args.img_size=64", "model_args.width_mult=0.125"]
        return load_recipe("digits", [*small, *overrides])

    return load
