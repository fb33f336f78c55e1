"""Small trees of photographs, fabricated with Pillow, a prepared one, and archives with the published layout."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

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


class Fabricate:
    """Small archives with the layout and the names of the published ones."""

    @staticmethod
    def colour(seed: int) -> np.ndarray:
        return np.random.default_rng(seed).integers(30, 226, 3)

    @classmethod
    def photograph(cls, seed: int) -> bytes:
        """A plain colour, by which each photograph is known again."""
        out = io.BytesIO()
        Image.new("RGB", (40, 36), tuple(cls.colour(seed).tolist())).save(out, "JPEG", quality=95)
        return out.getvalue()

    @staticmethod
    def tar(files: dict[str, bytes], mode: str = "w") -> bytes:
        out = io.BytesIO()
        options = {"compresslevel": 1} if mode == "w:gz" else {}
        with tarfile.open(fileobj=out, mode=mode, **options) as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        return out.getvalue()

    @staticmethod
    def meta_mat(stem: str, synsets: list[tuple[int, str, int]]) -> bytes:
        """A kit's meta.mat: (id, wnid, num_train_images) of each synset, inner nodes included."""
        rows = np.empty((len(synsets), 1), [(f"{stem}_ID", object), ("WNID", object), ("num_train_images", object)])
        for row, (number, wnid, images) in zip(rows, synsets, strict=True):
            row[0] = (float(number), wnid, float(images))
        out = io.BytesIO()
        savemat(out, {"synsets": rows})
        return out.getvalue()

    @staticmethod
    def python2_batch(pixels: np.ndarray, labels: list[int]) -> bytes:
        """As Python 2 pickled CIFAR-10's batches: texts, numbers, and one long string of pixels."""

        def text(value: bytes) -> bytes:
            short, long = pickle.SHORT_BINSTRING + bytes([len(value) % 256]), len(value).to_bytes(4, "little")
            return (short if len(value) < 256 else pickle.BINSTRING + long) + value + b"q\x01"

        shape = pickle.BININT2 + len(pixels).to_bytes(2, "little") + pickle.BININT2 + b"\x00\x0c" + pickle.TUPLE2
        numbers = pickle.MARK + b"".join(pickle.BININT1 + bytes([label]) for label in labels) + pickle.APPENDS
        items = text(b"data") + shape + text(pixels.tobytes()) + text(b"labels") + pickle.EMPTY_LIST + b"q\x02"
        items += numbers + text(b"batch_label") + text(b"testing batch 1 of 1")
        return b"\x80\x02" + pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS + pickle.STOP


@pytest.fixture(scope="session")
def fabricate() -> type[Fabricate]:
    return Fabricate
