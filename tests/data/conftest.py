"""Small trees of photographs, fabricated with Pillow, and a prepared one."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_zoo.data.prepared.dataset import Prepared
from alexnet_zoo.data.prepared.prepare import prepare


def _smooth(seed: int, width: int, height: int) -> Image.Image:
    """A photograph without sharp edges, so that JPEG keeps it nearly as it is."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def _write_tree(root: Path, classes: dict[str, int], seed: int = 0) -> Path:
    """root/CLASS/CLASS_N.jpg, N = 0.., of different sizes; {CLASS: how many}."""
    for name, images in classes.items():
        (root / name).mkdir(parents=True)
        for number in range(images):
            seed += 1
            image = _smooth(seed, 40 + number % 7, 36 + number % 5)
            image.save(root / name / f"{name}_{number}.jpg", quality=95)
    return root


@pytest.fixture(scope="session")
def smooth():
    return _smooth


@pytest.fixture(scope="session")
def write_tree():
    return _write_tree


@pytest.fixture(scope="session")
def small_tree(tmp_path_factory) -> Path:
    """train/ with 30 cats and 20 dogs, val/ with 6 and 4."""
    root = tmp_path_factory.mktemp("trees") / "pets"
    _write_tree(root / "train", {"cat": 30, "dog": 20})
    _write_tree(root / "val", {"cat": 6, "dog": 4}, seed=100)
    return root


@pytest.fixture(scope="session")
def small_prepared(small_tree, tmp_path_factory) -> Prepared:
    """small_tree at 32x32 in shards of 16 images."""
    return prepare(small_tree, tmp_path_factory.mktemp("prepared") / "pets", image_size=32, workers=2, shard_images=16)
