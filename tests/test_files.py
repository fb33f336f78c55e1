"""Files that appear whole or not at all."""

import resource

import pytest
import torch
from safetensors.torch import save_file

from alexnet_zoo.errors import UserError
from alexnet_zoo.files import written_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_and_a_folder_replace_what_was_there(tmp_path):
    for content in ("old", "new"):
        with written_whole(tmp_path / "made" / "file") as partial:
            partial.write_text(content)
        with written_whole(tmp_path / "made" / "folder") as partial:
            partial.mkdir()
            (partial / content).write_text(content)
    assert names(tmp_path / "made") == ["file", "folder"]
    assert (tmp_path / "made" / "file").read_text() == "new"
    assert names(tmp_path / "made" / "folder") == ["new"]


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), written_whole(tmp_path / "folder") as partial:
        partial.mkdir()
        (partial / "new").write_text("half")
        assert partial.parent == tmp_path and names(tmp_path / "folder") == ["old"]
        raise ZeroDivisionError
    assert names(tmp_path) == ["folder"] and names(tmp_path / "folder") == ["old"]


def test_a_full_disk_is_a_line_of_advice(tmp_path):
    (tmp_path / "old.safetensors").write_text("old")
    tensors = {"weight": torch.zeros(1 << 15)}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))  # what a write gets that no longer fits
    try:
        for write in (lambda path: path.write_bytes(bytes(1 << 17)), lambda path: save_file(tensors, path)):
            with pytest.raises(UserError, match=r"old.safetensors: cannot be written \(.+\); make room"):
                with written_whole(tmp_path / "old.safetensors") as partial:
                    write(partial)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == ["old.safetensors"] and (tmp_path / "old.safetensors").read_text() == "old"


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), written_whole(tmp_path / "file" / "x") as partial:
        partial.write_text("")
