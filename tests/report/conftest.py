import csv
from pathlib import Path
from types import SimpleNamespace

import pytest

from alexnet_zoo.results import COLUMNS

DIGITS = dict(
    model="alexnet_krizhevsky", img_size=112, top1=95.0, top1_err=5.0, top5=99.5, top5_err=0.5, param_count=3.9,
    crop_pct=0.875, interpolation="bilinear", recipe="digits", dataset="digits", split="test", images=360, views=10,
    provider="CPUExecutionProvider", precision="fp32", onnx_sha256="aa", data_sha256="dd", identity="",
)  # fmt: skip
VAL2012 = DIGITS | dict(
    recipe="table2-one-cnn", dataset="ilsvrc2012", split="val", images=50_000, img_size=224, data_sha256="d12",
    identity="ILSVRC-2012 val, 50,000 images, complete",
)  # fmt: skip
TEST2010 = VAL2012 | dict(
    recipe="table1-cnn", dataset="ilsvrc2010", split="test", images=150_000, data_sha256="d10",
    identity="ILSVRC-2010 test, 150,000 images, complete",
)  # fmt: skip


def errors(top1_err: float, top5_err: float) -> dict:
    return dict(top1_err=top1_err, top1=round(100 - top1_err, 3), top5_err=top5_err, top5=round(100 - top5_err, 3))


def write_results(path: Path, *lines: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    return path


def write_run(folder: Path, *lines: dict, curve: list[dict] = (), recipe: str = "") -> Path:
    """A run folder as training leaves it, with made-up figures."""
    folder.mkdir(parents=True)
    if lines:
        write_results(folder / "results.csv", *lines)
    if curve:
        with open(folder / "summary.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(curve[0]))
            writer.writeheader()
            writer.writerows(curve)
    (folder / "recipe.toml").write_text(f'name = "{recipe or (lines[0]["recipe"] if lines else "digits")}"\n')
    return folder


@pytest.fixture(scope="session")
def made():
    """The helpers above; figures made up, in the format of real ones."""
    lines = dict(DIGITS=DIGITS, VAL2012=VAL2012, TEST2010=TEST2010)
    return SimpleNamespace(**lines, errors=errors, write_results=write_results, write_run=write_run)
