"""Fixtures that several rooms share. Photographs are never committed: tests that need them skip where they are not."""

import io
import os
import pickle
import re
import signal
import subprocess
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from scipy.io import savemat
from torch import nn

import alexnet_zoo  # noqa: F401  (gives timm the networks)
from alexnet_zoo.data.prepared.dataset import Prepared
from alexnet_zoo.data.prepared.digits import prepare_digits
from alexnet_zoo.onnx.export import describe, export
from alexnet_zoo.onnx.preprocessing import Preprocessing

A_CLASS = 8  # photographs of each class and split in `photographs`


def pytest_configure(config):
    """Hides the cards from all runs but those of -m cuda: what other tests expect is what a CPU computes.

    Where a shell started pytest in the background, and so deaf to Ctrl-C, what tests start hears it again.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not re.search(r"(?<!not )\bcuda\b", config.option.markexpr):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # which CUDA reads when it is first used, here and in what tests start


def pytest_runtest_setup(item):
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a card, which -m cuda lets tests see: torch finds no CUDA device")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real images and ground truth lists: ALEXZOO_TEST_DATA, else ../shared/data beside the project."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ALEXZOO_TEST_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no test data: {folder} is not a folder; ALEXZOO_TEST_DATA can name another")
    return folder


@pytest.fixture(scope="session")
def photographs(data_folder, tmp_path_factory) -> Path:
    """A tree train/WNID/*.JPEG, val/WNID/*.JPEG: 8 photographs of each of Imagenette's ten classes and each split."""
    archives = [data_folder / name for name in ("imagenette-train-0.tar", "imagenette-val.tar")]
    missing = [archive.name for archive in archives if not archive.is_file()]
    if missing:
        pytest.skip(f"no photographs: {data_folder} lacks {', '.join(missing)}")
    tree = tmp_path_factory.mktemp("photographs")
    for archive in archives:
        _unpack_some(archive, tree)
    return tree


def _unpack_some(archive: Path, tree: Path) -> None:
    taken = Counter()
    with tarfile.open(archive) as tar:
        for member in tar:
            folder = Path(member.name).parent
            if not member.isfile() or taken[folder] == A_CLASS:
                continue
            taken[folder] += 1
            (tree / folder).mkdir(parents=True, exist_ok=True)
            (tree / member.name).write_bytes(tar.extractfile(member).read())


@pytest.fixture
def resources(tmp_path, monkeypatch):
    """Tells registers and bytes of stack that a kernel needs, compiled for a chip by what triton brings along."""
    triton = pytest.importorskip("triton", reason="no triton: it comes with torch where torch can use CUDA")
    tools = Path(triton.__file__).parent / "backends/nvidia/bin"
    if not all((tools / tool).exists() for tool in ("ptxas", "cuobjdump")):
        pytest.skip(f"no ptxas or cuobjdump in {tools}: this triton does not compile for CUDA")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))

    def call(source, chip: int, **options) -> tuple[int, int]:
        from triton.backends.compiler import GPUTarget

        target = GPUTarget("cuda", chip, 32)
        (tmp_path / "kernel.cubin").write_bytes(triton.compile(source, target=target, options=options).asm["cubin"])
        command = [tools / "cuobjdump", "-res-usage", tmp_path / "kernel.cubin"]
        usage = subprocess.run(command, capture_output=True, text=True, check=True)
        registers, stack = re.search(r"REG:(\d+) STACK:(\d+)", usage.stdout + usage.stderr).groups()
        return int(registers), int(stack)

    return call


# A small network with random weights, exported, and the digits to run it on.

IMAGE, CROP = 128, 112


@dataclass
class Exported:
    model: nn.Module
    path: Path
    metadata: dict[str, str]


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Prepared:
    return prepare_digits(tmp_path_factory.mktemp("digits"), IMAGE)


@pytest.fixture(scope="session")
def exported(tmp_path_factory, digits) -> Exported:
    return export_small(tmp_path_factory.mktemp("onnx") / "one.onnx", digits, seed=1)


@pytest.fixture(scope="session")
def another(tmp_path_factory, digits) -> Exported:
    return export_small(tmp_path_factory.mktemp("onnx") / "another.onnx", digits, seed=2)


def export_small(path: Path, digits: Prepared, seed: int) -> Exported:
    """A quarter of the width; random weights of a size that makes the softmax neither flat nor a step."""
    torch.manual_seed(seed)
    model = timm.create_model(
        "alexnet_krizhevsky", num_classes=10, img_size=CROP, width_mult=0.25, init_std="he", init_bias=0.1
    )
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.bias.uniform_(-0.2, 0.2)
        model.conv1.weight.mul_(0.2)
    inputs = Preprocessing(digits.classes, IMAGE, CROP, digits.mean)
    metadata = describe(model, "alexnet_krizhevsky", "digits", inputs, weights_sha256=f"{seed:064x}")
    return Exported(model, export(model, path, metadata, (3, CROP, CROP)), metadata)


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

    @classmethod
    def ilsvrc(cls, folder: Path, year, counts: dict[str, int], ids: dict[str, list[int]], **changes) -> Path:
        """All that was distributed of a year (ilsvrc.py): training photographs by wnid, ids of the other splits'.

        changes replace the content of a part, train, val, test, devkit or test_truth; None leaves it out.
        """

        def numbered(split: str) -> bytes:
            inside = "" if (year.stem, split) == ("ILSVRC2012", "val") else f"{split}/"
            names = [f"{inside}{year.stem}_{split}_{n:08d}.JPEG" for n in range(1, len(ids[split]) + 1)]
            return cls.tar({name: cls.photograph(n) for n, name in enumerate(names)})

        truth = {split: "".join(f"{i}\n" for i in ids[split]).encode() for split in ids}
        synsets = [(i, wnid, n) for i, (wnid, n) in enumerate(counts.items(), 1)]
        top = year.devkit.removesuffix(".tar.gz")
        kit = {
            f"{top}/readme.txt": b"",
            f"{top}/data/meta.mat": cls.meta_mat(year.stem, [*synsets, (len(counts) + 1, "n00001740", 0)]),
            f"{top}/data/{year.stem}_validation_ground_truth.txt": truth["val"],
        }
        tars = {
            f"{wnid}.tar": cls.tar({f"{wnid}_{n * 7}.JPEG": cls.photograph(n) for n in range(count)})
            for wnid, count in counts.items()
        }
        files = {
            "train": cls.tar(tars),
            "val": numbered("val"),
            "test": numbered("test"),
            "devkit": cls.tar(kit, "w:gz"),
            "test_truth": truth["test"] if year.stem == "ILSVRC2010" else None,
        } | changes
        names = {part: getattr(year, part).replace("*", "_v10102019") for part in ("train", "val", "test", "devkit")}
        names["test_truth"] = f"{year.stem}_test_ground_truth.txt"
        folder.mkdir()
        for part, content in files.items():
            if content is not None:
                (folder / names[part]).write_bytes(content)
        return folder

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
