"""timm's dataset names: WebDataset's tars read in place, Hugging Face's data sets through timm's reader."""

import importlib.util
import json

import pytest

from alexnet_zoo.data.prepared.picture import read
from alexnet_zoo.data.prepared.prepare import prepare
from alexnet_zoo.data.sources.named import is_dataset_name, named
from alexnet_zoo.errors import UserError


def samples(fabricate, numbers, ending="jpg"):
    pairs = [(f"{n:06d}.{ending}", fabricate.photograph(n)) for n in numbers]
    return fabricate.tar({name: content for n, pair in zip(numbers, pairs, strict=True) for name, content in [
        pair, (f"{n:06d}.cls", str(n % 3).encode()), (f"{n:06d}.json", b"{}")
    ]})  # fmt: skip


@pytest.fixture
def web(tmp_path, fabricate):
    for name, numbers in {"x-train-0": range(5), "x-train-1": range(5, 9), "x-validation-0": range(9, 12)}.items():
        (tmp_path / f"{name}.tar").write_bytes(samples(fabricate, numbers))
    return tmp_path


def test_a_name_is_one_only_where_no_folder_has_it(tmp_path, monkeypatch):
    assert is_dataset_name("hfds/timm/imagenet-1k") and is_dataset_name("wds//data/x") and not is_dataset_name("a/b")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wds" / "x").mkdir(parents=True)
    assert not is_dataset_name("wds/x")


@pytest.mark.parametrize("described", [False, True])
def test_web_dataset(web, fabricate, described):
    if described:
        files = {"train": ["x-train-0.tar", "x-train-1.tar"], "validation": ["x-validation-0.tar"]}
        info = {"splits": {split: {"filenames": names, "shard_lengths": []} for split, names in files.items()}}
        (web / "_info.json").write_text(json.dumps(info))
    source = named(f"wds/{web}")
    assert source.classes == ["0", "1", "2"] and list(source.splits) == ["train", "val"]
    train, val = source.splits["train"], source.splits["val"]
    assert train.labels == [n % 3 for n in range(9)] and train.names[4] == "1/000004" and val.labels == [0, 1, 2]
    assert [read(file) for file in train.files] == [fabricate.photograph(n) for n in range(9)]
    assert list(named(f"wds/{web}", ("val",)).splits) == ["val"]


def test_web_dataset_prepared(web, tmp_path_factory):
    prepared = prepare(f"wds/{web}", tmp_path_factory.mktemp("out") / "out", image_size=16, workers=1)
    assert len(prepared.split("train")) == 9 and prepared.split("val").names == ["0/000009", "1/000010", "2/000011"]


def test_web_dataset_that_cannot_be_used(web, fabricate, tmp_path):
    with pytest.raises(UserError, match="has no split 'test'; it has train, val"):
        named(f"wds/{web}", ("test",))
    (web / "x-train-0.tar").write_bytes(fabricate.tar({"1.jpg": b"", "2.jpg": b"", "2.cls": b"0"}))
    with pytest.raises(UserError, match="6 photographs, 5 of them with a .cls"):
        named(f"wds/{web}")
    (web / "x-train-0.tar").write_bytes(fabricate.tar({"1.jpg": b"", "1.cls": b"cat"}))
    with pytest.raises(UserError, match="b'cat' in a .cls is not the number of a class"):
        named(f"wds/{web}")
    (web / "info.json").write_text("{")
    with pytest.raises(UserError, match="info.json: cannot be read"):
        named(f"wds/{web}")
    with pytest.raises(UserError, match="no tars of WebDataset there"):
        named(f"wds/{tmp_path / 'nowhere'}")


@pytest.mark.skipif(importlib.util.find_spec("datasets") is not None, reason="the package datasets is installed")
def test_hugging_face_needs_its_package():
    with pytest.raises(UserError, match="needs the package datasets: pip install datasets"):
        named("hfds/timm/imagenet-1k")


def test_hugging_face(small_tree, small_prepared, tmp_path, monkeypatch):
    pytest.importorskip("datasets", reason="the package datasets is not installed")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    source = named(f"hfds/{small_tree}")
    assert source.classes == ["cat", "dog"] and list(source.splits) == ["train", "val"]
    prepared = prepare(f"hfds/{small_tree}", tmp_path / "out", image_size=32, workers=2)
    for split in ("train", "val"):
        ours, expected = prepared.split(split), small_prepared.split(split)
        order = sorted(range(len(ours)), key=lambda row: ours.gather([row], [0], [0], 32).numpy().tobytes())
        other = sorted(range(len(ours)), key=lambda row: expected.gather([row], [0], [0], 32).numpy().tobytes())
        assert (ours.labels[order] == expected.labels[other]).all()
        corners = [0] * len(order)
        assert (ours.gather(order, corners, corners, 32) == expected.gather(other, corners, corners, 32)).all()
