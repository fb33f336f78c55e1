"""What a run is made of besides one network: ensembles, starts from other runs, costs told beforehand."""

import csv
import re

import numpy as np
import pytest

from alexnet_zoo import pipeline
from alexnet_zoo.errors import UserError
from alexnet_zoo.onnx.evaluate import OnnxClassifier, Preprocessing, probabilities

SMALL = """
base = "digits"
image_size = 72
crop_size = 64
model_args = { img_size = 64, width_mult = 0.125 }
epochs = 1
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs and prepared data go into a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALEXZOO_CACHE", str(tmp_path / "cache"))


def test_an_ensemble_trains_its_members_and_averages_them(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    members = '{ recipe = "small.toml", seed = 3 }, { recipe = "small.toml", seed = 4 }'
    (tmp_path / "two.toml").write_text(f"{SMALL}members = [{members}]\n")
    ten, centre = pipeline.reproduce("two.toml", None, 1, tmp_path / "two", False, [])
    assert (ten["recipe"], ten["views"], centre["views"]) == ("two", 10, 1)

    split = pipeline.find_data(pipeline.load_recipe("small.toml"), None, tmp_path / "none").split("test")
    total = np.zeros((len(split), 10))
    for number in (1, 2):
        classifier = OnnxClassifier(tmp_path / "two" / f"member-{number}" / "model.onnx")
        inputs = Preprocessing.from_metadata(classifier.metadata, classifier.path)
        for rows, outputs in probabilities(classifier, inputs, split, 1, 50):
            total[rows] += outputs
    wrong = (total.argmax(1) != split.labels).mean()
    assert float(centre["top1_err"]) == pytest.approx(100 * wrong, abs=1e-3)

    with open(tmp_path / "two" / "member-2" / "results.csv") as file:
        assert next(csv.DictReader(file))["recipe"] == "small"
    taken = (tmp_path / "two" / "member-1" / "model.onnx").stat().st_mtime_ns
    assert pipeline.reproduce(None, None, 1, tmp_path / "two", True, []) == [ten, centre]
    assert (tmp_path / "two" / "member-1" / "model.onnx").stat().st_mtime_ns == taken


def test_a_start_from_a_recipe_without_a_run(tmp_path):
    (tmp_path / "small.toml").write_text(f'{SMALL}start_from = "digits"\n')
    with pytest.raises(UserError, match="first: alexzoo reproduce digits"):
        pipeline.reproduce("small.toml", None, 1, None, False, [])


def test_dry_run_tells_steps_and_costs_and_leaves_nothing(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    text = pipeline.dry_run("small.toml", None, 1, ["epochs=3"])
    assert "epochs = 3.0" in text
    assert "1,433 training images" in text and re.search(r"\b66 steps of \d+\.\d\d s", text)
    whole, column = (
        float(re.search(r"(\d+\.\d\d) GiB of memory a device", pipeline.dry_run("digits", None, gpus, []))[1])
        for gpus in (1, 2)
    )
    assert 0.4 < column / whole < 0.7  # half of the maps, and fc8 whole
    assert not (tmp_path / "runs").exists()
