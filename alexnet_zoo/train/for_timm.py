"""What a run's weights expect, in timm's form: config.json beside them, tensors in their file (models/timm_model.py).

timm.create_model("local-dir:RUN", pretrained=True) reads the first, checkpoint_path="RUN/model.safetensors" the second.
"""

import math

import numpy as np
import timm
import torch
from torch import Tensor

from alexnet_zoo.data.prepared.dataset import Prepared
from alexnet_zoo.models.timm_model import EXPECTS
from alexnet_zoo.train.recipe import Recipe

OF_THE_NETWORK = ("pool_size", "first_conv", "classifier", "license")


def input_of(recipe: Recipe, prepared: Prepared) -> dict:
    """Tells what timm's transforms do for this run: the crop's share of the image; mean and std of pixels from 0 to 1.

    timm subtracts one mean for each channel in place of the mean image.
    """
    crop_pct = recipe.crop_size / recipe.image_size
    if int(recipe.crop_size / crop_pct) < recipe.image_size:  # timm rounds this down for the image's side
        crop_pct = math.nextafter(crop_pct, 0)
    mean = prepared.mean.mean(axis=(0, 1), dtype=np.float64) / 255
    return {
        "input_size": [3, recipe.crop_size, recipe.crop_size],
        "crop_pct": crop_pct,
        "mean": mean.tolist(),
        "std": [recipe.input_scale / 255] * 3,
    }


def config_of(recipe: Recipe, prepared: Prepared) -> dict:
    """Makes a run's config.json, as timm writes and reads it."""
    cfg = timm.get_pretrained_cfg(recipe.model).to_dict()
    cfg = {key: cfg.get(key) for key in OF_THE_NETWORK} | {"interpolation": "bicubic", "crop_mode": "center"}
    return {
        "architecture": recipe.model,
        "num_classes": len(prepared.classes),
        "label_names": prepared.classes,
        "model_args": recipe.model_args,
        "pretrained_cfg": cfg | input_of(recipe, prepared),
    }


def tensors_of(recipe: Recipe, prepared: Prepared) -> dict[str, Tensor]:
    """Makes tensors of what input_of tells, to lie beside the weights in their file."""
    return {EXPECTS + key: torch.from_numpy(np.array(value)) for key, value in input_of(recipe, prepared).items()}
