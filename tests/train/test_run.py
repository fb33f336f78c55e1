import pytest

from alexnet_zoo.errors import UserError
from alexnet_zoo.train.recipe import load_recipe
from alexnet_zoo.train.run import Run, only_one, start_run


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


def test_a_layer_that_the_network_lacks_is_told_before_there_is_a_folder(tmp_path, digits):
    recipe = load_recipe("digits", ['frozen=["conv9"]'])
    with pytest.raises(UserError, match="frozen or changes name conv9"):
        start_run(Run(tmp_path / "run", recipe, digits), recipe, None)
    assert not (tmp_path / "run").exists()
