"""What a run's weights expect travels with them: timm, given the run, finds the run's own error."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_dataset, create_loader, resolve_model_data_config

from alexnet_zoo.onnx.evaluate import rank_of_label
from alexnet_zoo.onnx.preprocessing import Preprocessing
from alexnet_zoo.train.loop import train
from alexnet_zoo.train.run import Run, load_network

SCALED = ["epochs=4", "model_args.init_std=he", "lr=0.004", "input_scale=58"]


@pytest.fixture(scope="module")
def pictures(digits, tmp_path_factory) -> Path:
    """The test digits as files, CLASS/NUMBER.png, without loss."""
    folder, split = tmp_path_factory.mktemp("pictures"), digits.split("test")
    corners = [0] * len(split)
    for number, image in enumerate(split.gather(range(len(split)), corners, corners, digits.image_size).numpy()):
        place = folder / digits.classes[split.labels[number]]
        place.mkdir(exist_ok=True)
        Image.fromarray(image).save(place / f"{number:04d}.png")
    return folder


def logits_with_channel_mean(run: Run) -> np.ndarray:
    """Of the test images' centre crops, less one mean for each channel; in the order of the files of `pictures`."""
    recipe, prepared, split = run.recipe, run.prepared, run.prepared.split("test")
    mean = np.broadcast_to(prepared.mean.mean(axis=(0, 1)), prepared.mean.shape)
    inputs = Preprocessing(prepared.classes, recipe.image_size, recipe.crop_size, mean, recipe.input_scale)
    network = load_network(recipe, 10, run.folder / "model.safetensors").eval()
    with torch.no_grad():
        logits = network(inputs.crops(split, slice(0, len(split)), 1)).numpy()
    return logits[np.argsort(split.labels, kind="stable")]


@pytest.mark.parametrize("crop", [64, 68])
def test_timm_given_the_run_or_its_weights_finds_its_error(tmp_path, digits, small_recipe, pictures, crop):
    recipe = small_recipe(*SCALED, "epochs=0", f"crop_size={crop}", f"model_args.img_size={crop}")
    run = Run(tmp_path / "run", recipe, digits)
    train(run)
    by_folder = timm.create_model(f"local-dir:{run.folder}", pretrained=True)
    path = run.folder / "model.safetensors"
    by_file = timm.create_model(recipe.model, num_classes=10, checkpoint_path=path, **recipe.model_args)
    expected = logits_with_channel_mean(run)
    for model in (by_folder, by_file):
        config = resolve_model_data_config(model)
        assert config["std"] == pytest.approx([58 / 255] * 3) and tuple(config["input_size"]) == (3, crop, crop)
        dataset = create_dataset("folder", str(pictures))
        loader = create_loader(dataset, batch_size=64, use_prefetcher=False, num_workers=0, **config)
        with torch.no_grad():
            logits = torch.cat([model.eval()(images) for images, _ in loader])
        np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
    config = json.loads((run.folder / "config.json").read_text())
    assert config["label_names"] == digits.classes and config["model_args"] == recipe.model_args


@pytest.mark.slow
def test_timms_validate_on_a_run(tmp_path, digits, small_recipe, pictures):
    """timm's own script, in a clone of its repository that ALEXZOO_TIMM names."""
    script = Path(os.environ.get("ALEXZOO_TIMM", "pytorch-image-models")) / "validate.py"
    if not script.is_file():
        pytest.skip("no clone of https://github.com/huggingface/pytorch-image-models: ALEXZOO_TIMM can name one")
    run = Run(tmp_path / "run", small_recipe(*SCALED), digits)
    train(run)
    by_file = ["alexnet_krizhevsky", "--checkpoint", str(run.folder / "model.safetensors"), "--num-classes", "10"]
    by_file += ["--model-kwargs", *(f"{name}={value}" for name, value in run.recipe.model_args.items())]
    labels = np.sort(digits.split("test").labels)
    expected = 100 * np.mean(rank_of_label(logits_with_channel_mean(run), labels) > 0)
    assert 0 < expected < 90
    for model in ([f"local-dir:{run.folder}", "--pretrained"], by_file):
        command = [sys.executable, "-m", "alexnet_zoo", "timm", str(script), str(pictures), "--model", *model]
        command += ["--device", "cpu", "--workers", "1", "--batch-size", "64"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert float(re.search(r'"top1_err": ([\d.]+)', done.stdout)[1]) == pytest.approx(expected, abs=1e-3)
