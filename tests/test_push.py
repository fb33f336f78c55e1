"""What `alexzoo push` would put on the Hub: timm reads the folder, the card's lines run. The upload itself is tested
against nothing: there is no Hub here."""

import json
import re

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from alexnet_zoo.errors import UserError
from alexnet_zoo.onnx.evaluate import evaluate
from alexnet_zoo.onnx.preprocessing import Preprocessing
from alexnet_zoo.pipeline import conclude
from alexnet_zoo.push import push, upload
from alexnet_zoo.report.measured import read_sources
from alexnet_zoo.train.loop import train
from alexnet_zoo.train.recipe import load_recipe
from alexnet_zoo.train.run import Run, start_run

SMALL = ["image_size=128", "crop_size=64", "model_args.img_size=64", "model_args.width_mult=0.125", "views=[1]"]


@pytest.fixture(scope="module")
def run(tmp_path_factory, digits) -> Run:
    recipe = load_recipe("digits", [*SMALL, "epochs=1", "model_args.init_std=he", "input_scale=58", "lr=0.004"])
    made = Run(tmp_path_factory.mktemp("pushed"), recipe, digits)
    start_run(made, recipe, None)
    train(made)
    conclude(made, [], "cpu")
    return made


@pytest.fixture(scope="module")
def card(run) -> str:
    said = push(run.folder, "owner/name", None, dry_run=True)
    assert said.startswith(f"{run.folder / 'hub'}: what would be pushed to owner/name")
    return (run.folder / "hub" / "README.md").read_text()


def test_the_folder_is_a_timm_model(run, card):
    assert {path.name for path in (run.folder / "hub").iterdir()} == {
        "README.md", "config.json", "mean.npy", "model.safetensors"
    }  # fmt: skip
    ours = timm.create_model(f"local-dir:{run.folder}", pretrained=True).state_dict()
    theirs = timm.create_model(f"local-dir:{run.folder / 'hub'}", pretrained=True).state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert json.loads((run.folder / "hub" / "config.json").read_text())["label_names"] == run.prepared.classes


def test_the_cards_lines_run(run, card):
    code = re.search("```python\n(.*?)```", card, re.DOTALL)[1]
    assert '"hf-hub:owner/name"' in code
    names: dict = {}
    exec(code.replace("hf-hub:owner/name", f"local-dir:{run.folder / 'hub'}"), names)
    pixels = run.prepared.split("test").gather([0], [0], [0], 128)[0].numpy()
    with torch.no_grad():
        logits = names["model"](names["transform"](Image.fromarray(pixels))[None])
    assert logits.shape == (1, 10) and logits.isfinite().all()


def test_the_card_says_the_errors_and_what_timms_mean_costs(run, card):
    (row,) = read_sources([run.folder]).runs[0].results
    assert f"{row.top1_err:.2f} [" in card and "364" in card
    flat = np.broadcast_to(run.prepared.mean.mean(axis=(0, 1)), run.prepared.mean.shape)
    network = timm.create_model(f"local-dir:{run.folder}", pretrained=True).eval()
    split = run.prepared.split("test")
    inputs = Preprocessing(run.prepared.classes, 128, 64, flat, 58.0)
    with torch.no_grad():
        wrong = network(inputs.crops(split, slice(0, len(split)), 1)).argmax(1).numpy() != split.labels
    assert f"centre crop: {100 * wrong.mean():.2f}% top-1" in card
    assert f"in place of {row.top1_err:.2f}% and {row.top5_err:.2f}%" in card
    assert evaluate([run.folder / "model.onnx"], split, 1)["top1_err"] == f"{row.top1_err:.3f}"


def test_without_its_images_the_cost_has_no_number(run, tmp_path, card):
    facts = run.folder / "data.json"
    kept = facts.read_text()
    facts.write_text(json.dumps({**json.loads(kept), "folder": str(tmp_path)}))
    push(run.folder, "owner/name", None, dry_run=True)
    assert "What that costs was not measured." in (run.folder / "hub" / "README.md").read_text()
    facts.write_text(kept)


def test_what_cannot_be_pushed_is_one_line(run, tmp_path, monkeypatch, card):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    refused = [(lambda: push(run.folder, "name", None, True), "owner/name"),
               (lambda: push(tmp_path, "owner/name", None, True), "lacks config.json"),
               (lambda: push(run.folder, "owner/name", None, False), "no token for the Hub")]  # fmt: skip
    for refuse, says in refused:
        with pytest.raises(UserError, match=says) as caught:
            refuse()
        assert "\n" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="did not take it") as caught:
        upload(run.folder / "hub", "owner/name")
    assert "\n" not in str(caught.value)
