import pytest

from alexnet_zoo.errors import UserError
from alexnet_zoo.train.run import only_one


def test_one_process_at_a_time_and_no_empty_folder_is_left(tmp_path):
    with only_one(tmp_path / "run"):
        with pytest.raises(UserError, match="another process is training here"), only_one(tmp_path / "run"):
            pass
    assert not (tmp_path / "run").exists()
    with only_one(tmp_path / "run"):
        (tmp_path / "run" / "recipe.toml").touch()
    with only_one(tmp_path / "run"):
        pass
    assert (tmp_path / "run" / "recipe.toml").exists()
