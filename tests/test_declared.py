from pathlib import Path

import pytest

from alexnet_zoo import declared as module
from alexnet_zoo.declared import declared, list_declared, origins, read_declared
from alexnet_zoo.errors import UserError


def test_finds_a_shipped_file_with_and_without_suffix():
    assert declared("reports", "paper").name == "paper.toml"
    assert declared("reports", "paper.toml") == declared("reports", "paper")
    assert declared("reports", "paper") in list_declared("reports")


def test_a_users_own_path_is_itself(tmp_path):
    own = tmp_path / "mine.toml"
    own.write_text("")
    assert declared("reproduce", own) == own
    assert declared("reproduce", str(own)) == own


def test_a_folder_of_that_name_does_not_hide_the_declaration(tmp_path, monkeypatch):
    (tmp_path / "paper").mkdir()
    monkeypatch.chdir(tmp_path)
    assert declared("reports", "paper").is_file()


def test_in_a_wheel_the_files_lie_inside_the_package(tmp_path, monkeypatch):
    inside = tmp_path / "alexnet_zoo" / "_declared" / "reproduce"
    inside.mkdir(parents=True)
    for name in ("digits", "table1-cnn", "table2-one-cnn"):
        (inside / f"{name}.toml").write_text("")
    beside = tmp_path / "reproduce"  # somebody else's folder in site-packages
    beside.mkdir()
    (beside / "other.toml").write_text("")
    monkeypatch.setattr(module, "PACKAGE", tmp_path / "alexnet_zoo")
    assert declared("reproduce", "digits") == inside / "digits.toml"
    assert [path.stem for path in list_declared("reproduce")] == ["digits", "table1-cnn", "table2-one-cnn"]

    with pytest.raises(UserError) as caught:
        declared("reproduce", "tabel1-cnn")
    assert caught.value.exit_code == 2
    assert "tabel1-cnn" in str(caught.value)
    assert "did you mean table1-cnn? there are digits, table1-cnn, table2-one-cnn" in str(caught.value)


def test_no_such_file_at_all(tmp_path):
    with pytest.raises(UserError, match="missing.toml"):
        declared("export", Path(tmp_path / "missing.toml"))


def test_each_field_comes_from_a_file(tmp_path):
    (tmp_path / "below.toml").write_text('name = "b"\nlr = 1\nepochs = 2\n[model_args]\nlrn = false')
    (tmp_path / "above.toml").write_text('base = "below"\nlr = 3\n[model_args]\npool_size = 2')
    above = tmp_path / "above.toml"
    assert read_declared("x", above) == {"lr": 3, "epochs": 2, "model_args": {"lrn": False, "pool_size": 2}}
    expected = {"lr": "above.toml", "epochs": "below.toml", "model_args": "below.toml, above.toml"}
    assert origins("x", above) == expected
    for base, complaint in (("{ a = 1 }", "must be the name of a file"), ('"above"', "leads back to itself")):
        above.write_text(f"base = {base}")
        with pytest.raises(UserError, match=complaint):
            read_declared("x", above)
