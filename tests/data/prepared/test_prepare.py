"""Trees of photographs to prepared folders: content, faults, interruption."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image, ImageOps

from alexnet_zoo.data.prepared.dataset import verify
from alexnet_zoo.data.prepared.decoders import Decoders
from alexnet_zoo.data.prepared.prepare import prepare, shared_images
from alexnet_zoo.errors import UserError


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def whole(dataset):
    corners = [0] * len(dataset)
    return dataset.gather(range(len(dataset)), corners, corners, dataset.image_size).numpy()


def test_every_image_with_its_name_and_label(small_tree, small_prepared):
    assert (small_prepared.name, small_prepared.classes) == ("pets", ["cat", "dog"])
    for split, count in (("train", 50), ("val", 10)):
        dataset = small_prepared.split(split)
        assert len(dataset) == len(dataset.names) == count
        for name, label, image in zip(dataset.names, dataset.labels, whole(dataset), strict=True):
            assert name.split("/")[0] == small_prepared.classes[label]
            original = Image.open(small_tree / split / name)
            original.thumbnail((32, 32))  # nearly the same, by another way
            middle = np.asarray(original.resize((32, 32)))[8:24, 8:24].astype(float)
            assert np.abs(image[8:24, 8:24] - middle).mean() < 12
    assert sorted(path.name for path in small_prepared.folder.iterdir()) == sorted(
        ["mean.npy", "prepared.json"]
        + [f"{split}-{part}" for split in ("train", "val") for part in ("labels.npy", "names.txt", "00000.npy")]
        + [f"train-{number:05d}.npy" for number in (1, 2, 3)]
    )


def test_number_of_workers_changes_nothing(small_tree, small_prepared, tmp_path):
    prepare(small_tree, tmp_path / "out", image_size=32, workers=1, shard_images=16)
    assert bytes_of(tmp_path / "out") == bytes_of(small_prepared.folder)


def test_finished_is_a_no_op(small_tree, small_prepared):
    stamps = {path: path.stat().st_mtime_ns for path in small_prepared.folder.iterdir()}
    again = prepare(small_tree, small_prepared.folder, image_size=32, shard_images=16)
    assert again.sha256 == small_prepared.sha256
    assert stamps == {path: path.stat().st_mtime_ns for path in small_prepared.folder.iterdir()}


def test_odd_photographs(tmp_path, smooth, write_tree):
    root = write_tree(tmp_path / "tree", {"a": 120, "b": 120})
    smooth(1, 60, 40).save(root / "a" / "png.JPEG", "PNG")
    smooth(2, 60, 40).convert("CMYK").save(root / "a" / "cmyk.JPEG", "JPEG")
    smooth(3, 60, 40).convert("L").save(root / "a" / "grey.JPEG", "JPEG")
    (root / "b" / "empty.jpg").touch()
    cut = (root / "b" / "b_7.jpg").read_bytes()
    (root / "b" / "b_7.jpg").write_bytes(cut[: len(cut) // 2])
    prepared = prepare(root, tmp_path / "out", image_size=32, workers=2, shard_images=16)
    train, val = prepared.split("train"), prepared.split("val")
    names, labels = train.names + val.names, [*train.labels, *val.labels]
    assert {"a/png.JPEG", "a/cmyk.JPEG", "a/grey.JPEG"} <= set(names)
    assert len(names) == 242 and not {"b/b_7.jpg", "b/empty.jpg"} & set(names)
    assert all(name[0] == "ab"[label] for name, label in zip(names, labels, strict=True))
    unreadable = sorted(train.unreadable + val.unreadable)
    assert [line.split(": ", 1)[0] for line in unreadable] == ["b/b_7.jpg", "b/empty.jpg"]
    assert "truncated" in unreadable[0].lower() and unreadable[1].endswith("not an image")
    verify(prepared.folder)
    for dataset in (train, val):  # rows behind one that was left out still hold their own image
        for name, image in zip(dataset.names, whole(dataset), strict=True):
            with Image.open(root / name) as original:
                colour = np.asarray(ImageOps.fit(original.convert("RGB"), (32, 32))).mean((0, 1))
            assert np.abs(image.mean((0, 1)) - colour).max() < 6


def test_over_one_per_cent_unreadable_stops_with_the_list(tmp_path, write_tree):
    root = write_tree(tmp_path / "tree", {"a": 40, "b": 40})
    (root / "a" / "a_3.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"lists 1 photographs .* over 1% of 80; .* a/a_3.jpg: not an image"):
        prepare(root, tmp_path / "out", image_size=32, workers=1)
    assert (tmp_path / "out" / "unreadable.txt").read_text() == "a/a_3.jpg: not an image\n"
    assert not list((tmp_path / "out").glob("*.npy"))


def test_shard_without_a_readable_photograph(tmp_path, write_tree):
    root = write_tree(tmp_path / "tree", {"a": 55, "b": 55})
    (root / "b" / "b_0.jpg").write_bytes(b"")
    prepared = prepare(root, tmp_path / "out", image_size=8, workers=2, shard_images=1)
    assert len(prepared.split("train")) + len(prepared.split("val")) == 109
    assert len(whole(prepared.split("train"))) == len(prepared.split("train"))


PROGRAM = """
import sys
from pathlib import Path
from alexnet_zoo.data.prepared.prepare import prepare, shared_images
prepare(Path(sys.argv[1]), Path(sys.argv[2]), image_size=64, workers=2, shard_images=8)
"""


@pytest.mark.slow
def test_killed_and_continued_gives_the_same_bytes(tmp_path, smooth):
    root = tmp_path / "tree"
    for label in "ab":
        (root / label).mkdir(parents=True)
        smooth(ord(label), 700, 525).save(root / label / "0.png", compress_level=1)
        for number in range(1, 64):
            os.link(root / label / "0.png", root / label / f"{number}.png")
    out = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(root), str(out)], stderr=subprocess.DEVNULL)
    finished = wait_for_shards(out, process, 3)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    stamps = {file: (out / file).stat().st_mtime_ns for file in finished}
    assert not (out / "prepared.json").exists()
    prepare(root, out, image_size=64, workers=2, shard_images=8)
    assert stamps == {file: (out / file).stat().st_mtime_ns for file in finished}  # not made again
    prepare(root, tmp_path / "whole", image_size=64, workers=2, shard_images=8)
    assert bytes_of(out) == bytes_of(tmp_path / "whole")


def wait_for_shards(out, process, count):
    for _ in range(3000):
        assert process.poll() is None, "it ended before it could be killed"
        if (out / "preparing.json").exists():
            finished = json.loads((out / "preparing.json").read_text())["shards"]
            if len(finished) >= count:
                return list(finished)
        time.sleep(0.02)
    raise AssertionError("no shards within a minute")


def test_folder_with_other_content_is_left_alone(small_tree, small_prepared, write_tree, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not empty"):
        prepare(small_tree, tmp_path, image_size=32)
    with pytest.raises(UserError, match="prepared from another image_size"):
        prepare(small_tree, small_prepared.folder, image_size=64, shard_images=16)
    other = write_tree(tmp_path / "other", {"a": 30, "b": 30})
    with pytest.raises(UserError, match="prepared from other photographs"):
        prepare(other, small_prepared.folder, image_size=32, shard_images=16)
    with pytest.raises(UserError, match="lies in the folder of photographs"):
        prepare(other, other / "out", image_size=32)
    verify(small_prepared.folder)


def test_folder_that_cannot_be_made(small_tree, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="out.*cannot be written .Not a directory."):
        prepare(small_tree, tmp_path / "file" / "out", image_size=32)


def test_disk_space_is_checked_before_anything_is_decoded(small_tree, tmp_path):
    needed = shutil.disk_usage(tmp_path).free * 2
    with pytest.raises(UserError, match=r"needs .* GB of disk, .* GB are free"):
        prepare(small_tree, tmp_path / "out", image_size=int((needed / 60 / 3) ** 0.5))
    assert os.listdir(tmp_path / "out") == ["preparing.json"]


def test_after_a_photograph_is_added_only_what_changed_is_prepared(small_tree, tmp_path):
    tree = shutil.copytree(small_tree, tmp_path / "pets")
    prepare(tree, tmp_path / "out", image_size=32, workers=2, shard_images=16)
    shutil.copy(tree / "train" / "cat" / "cat_0.jpg", tree / "train" / "dog" / "another.jpg")
    (tree / "val" / "dog" / "dog_3.jpg").unlink()
    with pytest.raises(UserError, match="prepared from other photographs; --update it, or choose another folder"):
        prepare(tree, tmp_path / "out", image_size=32, shard_images=16)
    stamps = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("train-0*")}
    prepare(tree, tmp_path / "out", image_size=32, workers=2, shard_images=16, update=True)
    verify(tmp_path / "out")
    prepare(tree, tmp_path / "anew", image_size=32, workers=2, shard_images=16)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "anew")
    same = [name for name, stamp in stamps.items() if (tmp_path / "out" / name).stat().st_mtime_ns == stamp]
    assert same == ["train-00000.npy"]  # the first sixteen cats; the dog comes behind them


def test_any_number_of_unreadable_photographs_can_be_left_out(tmp_path, write_tree):
    root = write_tree(tmp_path / "few", {"a": 12, "b": 12})
    (root / "a" / "a_3.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match="or --skip-unreadable"):
        prepare(root, tmp_path / "out", image_size=32)
    prepared = prepare(root, tmp_path / "out", image_size=32, skip_unreadable=True)
    assert sum(len(split) for split in prepared.splits.values()) == 23


@pytest.mark.parametrize("option", ["image_size", "shard_images", "workers"])
def test_numbers_that_must_be_positive(small_tree, tmp_path, option):
    with pytest.raises(UserError, match=f"^{option} -1: must be at least 1"):
        prepare(small_tree, tmp_path / "out", **{option: -1})
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="out: is a file; name a folder"):
        prepare(small_tree, tmp_path / "out")


def test_dead_decoding_process_is_one_clear_line(tmp_path):
    with Decoders(1) as decoders:
        decoders.processes[0].kill()
        task = {"shard": str(tmp_path / "x"), "offset": 0, "stride": 192, "image_size": 8, "encoding": "npy"}
        task |= {"first_row": 0, "files": ["a.jpg"]}
        with pytest.raises(UserError, match=r"a.jpg: .* died \(killed by signal 9\)"):
            decoders.submit(task).result()


def test_shard_that_cannot_be_written_is_one_clear_line(tmp_path):
    with Decoders(1) as decoders:
        shard = str(tmp_path / "gone" / "train-00000.npy")
        task = {"shard": shard, "offset": 0, "stride": 192, "image_size": 8, "encoding": "npy"}
        task |= {"first_row": 0, "files": ["a.jpg"]}
        with pytest.raises(UserError, match="train-00000.npy: cannot be written"):
            decoders.submit(task).result()


def test_real_photographs(photographs, tmp_path):
    prepared = prepare(photographs, tmp_path / "out", workers=2)
    train = prepared.split("train")
    assert (len(prepared.classes), len(train), len(prepared.split("val")), train.identity) == (10, 80, 80, "")
    assert prepared.image_size == 256 and prepared.mean.shape == (256, 256, 3) and 80 < prepared.mean.mean() < 150
    assert prepared.eigenvalues[0] > 5 * prepared.eigenvalues[1] > 0  # natural images vary most in brightness
    assert np.abs(prepared.eigenvectors[:, 0] - 3**-0.5).max() < 0.15
    verify(prepared.folder)


def test_a_warning_where_train_and_val_share_images(small_tree, small_prepared, tmp_path, capsys):
    assert shared_images(small_prepared) == []
    for split in ("train", "val"):
        shutil.copytree(small_tree / "val", tmp_path / "tree" / split)
    prepared = prepare(tmp_path / "tree", tmp_path / "out", 32)
    assert shared_images(prepared) == sorted(prepared.split("val").names)
    assert "10 images of train are in val or test too" in capsys.readouterr().err
