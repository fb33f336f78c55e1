import json

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from alexnet_zoo.data.prepared.digits import prepare_digits
from alexnet_zoo.report.retrieval import chosen, class_name, examine, neighbours, predictions
from alexnet_zoo.train.recipe import load_recipe, save_recipe


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A run folder with a tiny untrained network, and the digits."""
    torch.manual_seed(0)
    run = tmp_path_factory.mktemp("run")
    prepared = prepare_digits(run / "data", image_size=80)
    args = ["image_size=80", "crop_size=72", "model_args.img_size=72", "model_args.width_mult=0.0625"]
    recipe = load_recipe("digits", args)
    model = timm.create_model(recipe.model, num_classes=10, **recipe.model_args)
    save_file(model.state_dict(), run / "model.safetensors")
    save_recipe(recipe, run / "recipe.toml")
    (run / "data.json").write_text(json.dumps({"folder": str(prepared.folder), "classes": prepared.classes}))
    np.save(run / "mean.npy", prepared.mean)
    return run, prepared, model, recipe


def test_neighbours_against_a_plain_search(untrained):
    run, prepared, model, recipe = untrained
    found = examine(run, prepared, searched=60)
    assert found.pictures.shape == (8, 72, 72, 3) and found.nearest.shape == (5, 7, 72, 72, 3)
    assert found.probabilities.sum(1) == pytest.approx(np.ones(8), abs=1e-5)
    assert np.array_equal(found.nearest[:, 0], found.pictures[:5])

    # The same again, straight from the definition: centre crops less the mean, fc7, Euclidean distance.
    train = prepared.split("train")
    rows = np.sort(np.random.default_rng(0).permutation(len(train))[:60])

    @torch.no_grad()
    def fc7(pixels):
        inputs = torch.from_numpy((pixels - prepared.mean[4:76, 4:76]) / recipe.input_scale).permute(0, 3, 1, 2)
        return model.eval().forward_head(model.forward_features(inputs.float()), pre_logits=True).numpy()

    crops = train.gather(rows, [4] * 60, [4] * 60, 72).numpy()
    queries, stored = fc7(found.pictures[:5]), fc7(crops)
    distance = np.sqrt(((queries[:, None] - stored[None]) ** 2).sum(-1))
    shown = fc7(found.nearest[:, 1:].reshape(-1, 72, 72, 3)).reshape(5, 6, -1)
    assert np.sqrt(((shown - queries[:, None]) ** 2).sum(-1)) == pytest.approx(np.sort(distance, 1)[:, :6], rel=1e-4)
    assert found.distances == pytest.approx(np.sort(distance, 1)[:, :6], rel=1e-4)


def test_some_of_the_images_shown_are_named_wrongly():
    right = np.ones(100, bool)
    right[[5, 50, 60, 70, 95]] = False
    assert (~right[chosen(right)]).sum() == 3 and len(chosen(right)) == 8 and {5, 95, 0, 99} <= {*chosen(right)}
    assert (~right[chosen(right[:55])]).sum() == 2 and len(chosen(right[:55])) == 8  # no more are wrong
    assert len(chosen(np.zeros(20, bool))) == 8 and right[chosen(np.ones(100, bool))].size == 8
    assert chosen(np.ones(3, bool)).tolist() == [0, 1, 2]


def test_figure4_marks_what_is_correct_and_what_is_not(untrained):
    found = examine(*untrained[:2], searched=60)
    left = predictions(found)
    marked = sum(text.get_text().endswith("✓") for axes in left.axes for text in axes.texts)
    top5 = np.argsort(-found.probabilities, axis=1)[:, :5]
    assert marked == (top5 == found.labels[:, None]).any(1).sum()
    right_answers = found.probabilities.argmax(1) == found.labels
    assert (~right_answers).sum() >= 3 and 3 <= found.wrong <= found.looked_at
    assert [label.get_text() for label in left.axes[1].get_xticklabels()] == ["0.0", "0.5", "1.0"]
    right = neighbours(found)
    crosses = sum(text.get_text() == "×" for axes in right.axes for text in axes.texts)
    assert crosses == (found.nearest_labels[:, 1:] != found.nearest_labels[:, :1]).sum()


def test_class_names():
    assert class_name("n01440764") == "tench"
    assert class_name("n99999999") == "n99999999"
    assert class_name("7") == "7" and class_name("nail") == "nail"
