"""What a run is made of besides one network: ensembles, starts from other runs, costs told beforehand."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from alexnet_zoo import pipeline
from alexnet_zoo.dry_run import dry_run
from alexnet_zoo.errors import UserError
from alexnet_zoo.files import sha256_of
from alexnet_zoo.onnx.evaluate import OnnxClassifier, Preprocessing, probabilities
from alexnet_zoo.plan import make_plan
from alexnet_zoo.resolve import find_data
from alexnet_zoo.train.recipe import load_recipe

SMALL = """
base = "digits"
image_size = 72
crop_size = 64
model_args = { img_size = 64, width_mult = 0.125 }
epochs = 1
"""


def reproduce(name, data=None, **options) -> list[dict]:
    return pipeline.reproduce(make_plan(name, data, **options))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs and prepared data go into a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALEXZOO_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
def test_an_ensemble_trains_its_members_and_averages_them(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    members = '{ recipe = "small.toml", seed = 3 }, { recipe = "small.toml", seed = 4 }'
    (tmp_path / "two.toml").write_text(f"{SMALL}members = [{members}]\n")
    ten, centre = reproduce("two.toml", out=tmp_path / "two")
    assert (ten["recipe"], ten["views"], centre["views"]) == ("two", 10, 1)

    split = find_data(load_recipe("small.toml"), None, tmp_path / "none").split("test")
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
    assert reproduce(None, out=tmp_path / "two", resume=True) == [ten, centre]
    assert (tmp_path / "two" / "member-1" / "model.onnx").stat().st_mtime_ns == taken


@pytest.mark.slow
def test_an_ensemble_is_the_same_under_torchrun_and_in_processes_of_our_own(tmp_path):
    members = '{ recipe = "small.toml", seed = 3 }, { recipe = "small.toml", seed = 4 }'
    (tmp_path / "small.toml").write_text(SMALL)
    (tmp_path / "two.toml").write_text(f"{SMALL}members = [{members}]\n")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["-m", "alexnet_zoo", "reproduce", "two.toml", "--out"]
    for process in ([*torchrun, *command, "theirs"], [*command, "ours", "--gpus", "2"]):
        printed = subprocess.run([sys.executable, *process], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert printed.returncode == 0, printed.stderr
        assert printed.stdout.count("ten crops: top-1 error") == 3  # two members, and their average
    theirs, ours = ([*csv.DictReader(open(tmp_path / run / "results.csv"))] for run in ("theirs", "ours"))
    assert theirs == ours and theirs[0]["model"] == "2 alexnet_krizhevsky"
    weights = [
        [sha256_of(tmp_path / run / f"member-{number}" / "model.safetensors") for number in (1, 2)]
        for run in ("theirs", "ours")
    ]
    assert weights[0] == weights[1] and weights[0][0] != weights[0][1]
    for member in ("theirs/member-2", "ours/member-2"):
        assert json.loads((tmp_path / member / "environment.json").read_text())["processes"] == 2


def test_a_start_from_a_recipe_without_a_run(tmp_path):
    (tmp_path / "small.toml").write_text(f'{SMALL}start_from = "digits"\n')
    with pytest.raises(UserError, match="first: alexzoo reproduce digits"):
        reproduce("small.toml")


def test_dry_run_tells_steps_and_costs_and_leaves_nothing(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    text = dry_run(make_plan("small.toml", None, overrides=["epochs=3"]))
    assert "epochs = 3.0" in text
    assert "1,433 training images" in text and re.search(r"\b66 steps of \d+\.\d\d s", text)
    whole, column = (
        float(re.search(r"(\d+\.\d\d) GiB of memory a device", dry_run(make_plan("digits", None, gpus)))[1])
        for gpus in (1, 2)
    )
    assert 0.4 < column / whole < 0.7  # half of the maps, and fc8 whole
    members = ", ".join(f'{{ recipe = "small.toml", seed = {seed} }}' for seed in (3, 4))
    (tmp_path / "two.toml").write_text(f"{SMALL}members = [{members}]\n")
    text = dry_run(make_plan("two.toml", None))
    assert text.count("each small:") == 1 and re.search(r"\b22 steps of", text)
    assert re.search(r"2 members, of which 2 are left: \d+\.\d minutes in all", text)
    assert not (tmp_path / "runs").exists()


def test_dry_run_knows_published_data_and_counts_photographs(tmp_path, photographs):
    """Without any data; then beside photographs, which it does not prepare."""
    small = ["model_args.width_mult=0.125", "model_args.img_size=64", "crop_size=64", "batch_size=16"]
    text = dry_run(make_plan("table2-one-cnn", None, overrides=[*small, "epochs=1"]))
    assert "1,281,167 training images from ILSVRC-2012" in text
    assert f"{1_281_167 // 16:,} steps of" in text and "evaluation" in text
    text = dry_run(make_plan("table2-one-cnn", photographs, overrides=[*small, "epochs=1"]))
    assert "80 training images" in text and "to be prepared in" in text and re.search(r"0\.\d minutes", text)
    with pytest.raises(UserError, match="80 training images do not fill a batch of 128"):
        dry_run(make_plan("table2-one-cnn", photographs))
    with pytest.raises(UserError, match="--data"):
        dry_run(make_plan("imagenette-quick", None))
    assert not list(tmp_path.iterdir())
