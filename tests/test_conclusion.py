from pathlib import Path

from alexnet_zoo.conclusion import conclusion, expected
from alexnet_zoo.train.recipe import load_recipe


def row(err: float, views: int = 10, images: int = 364) -> dict:
    return {"views": views, "images": images, "top1_err": f"{err:.3f}"}


def test_an_error_is_held_against_what_the_recipe_expects():
    digits = load_recipe("digits", ["seed=3"])
    assert expected(digits, row(3.846)) == "; as expected: 1 to 5%"
    assert expected(digits, row(9.9)) == "; expected were: 1 to 5%"
    for changed, measured in ((load_recipe("digits", ["epochs=1"]), row(3.8)), (digits, row(3.8, images=300))):
        assert expected(changed, measured) == ""  # another run, other images: nobody knows
    assert expected(digits, row(3.8, views=1)) == expected(load_recipe("finetune"), row(3.8)) == ""


def test_it_says_why_ten_crops_are_worse_and_where_everything_is():
    digits, run = load_recipe("digits"), Path("runs/digits")
    why, *places = conclusion(digits, [row(3.8), row(1.4, views=1)], run).splitlines()
    assert "mirror images" in why
    assert [line.split()[0] for line in places] == ["weights", "ONNX", "numbers", "report"]
    for recipe, ten in ((digits, 1.0), (load_recipe("imagenette-quick"), 3.8)):
        assert conclusion(recipe, [row(ten), row(1.4, views=1)], run).splitlines() == places
