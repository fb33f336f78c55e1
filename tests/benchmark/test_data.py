"""The data benchmarks run, on a few photographs; what they count is what passes through."""

import pytest
from PIL import Image

from alexnet_zoo.benchmark.data import gathering, loading, preparing
from alexnet_zoo.benchmark.measure import Options
from alexnet_zoo.benchmark.show import table
from alexnet_zoo.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(3):
        Image.new("RGB", (300 + number, 280), (80 * number, 100, 50)).save(folder / f"{number}.jpg")
    return folder


def options(folder) -> Options:
    return Options(photographs=folder, batch_size=4, repetitions=1)


GATHERED = ["one core", "one process", "processes", "from JPEG", "processes, from JPEG"]
GATHERED += ["one core, beside launches", "one process, beside launches"]


@pytest.mark.parametrize(
    "measure, peers",
    [
        (lambda folder: preparing(options(folder), 8, workers=1), ["ours", "decode, resize", "Pillow"]),
        (lambda folder: gathering(options(folder), 8), GATHERED),
        (lambda folder: loading(options(folder), 8), ["ours", "ours, JPEG", "timm 256x256", "timm"]),
    ],
    ids=["prepare", "gather", "loader"],
)
@pytest.mark.slow
def test_every_peer_is_measured(folder, measure, peers):
    rows = measure(folder)
    assert [row["peer"] for row in rows] == peers and rows[0]["ratio"] == 1
    for row in rows:
        assert row["samples_per_sec"] == pytest.approx(8 / (row["step_time"] / 1000), rel=0.02)
        assert row["ratio"] == pytest.approx(rows[0]["samples_per_sec"] / row["samples_per_sec"], rel=0.02)
    assert all(peer in table(rows) for peer in peers)


def test_no_photographs(tmp_path):
    with pytest.raises(UserError, match="holds no photographs"):
        gathering(options(tmp_path))
    with pytest.raises(UserError, match="--data"):
        gathering(Options())
