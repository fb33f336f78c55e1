"""A compiled step is the plain one, up to rounding: on a CPU here, in one process and in two columns."""

import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file

from alexnet_zoo.errors import UserError
from alexnet_zoo.train.columns import Layout
from alexnet_zoo.train.launch import run_training
from alexnet_zoo.train.step import make_step


@pytest.mark.slow
@pytest.mark.parametrize("gpus", [1, 2])
def test_compiled_training_is_the_plain_one(tmp_path, digits, small_recipe, gpus):
    if not shutil.which("g++"):
        pytest.skip("no g++: torch.compile cannot compile for a CPU")
    for compiled in ("false", "true"):
        recipe = small_recipe("model_args.drop_rate=0.0", f"compile={compiled}", f"epochs={5 / 22}")
        run_training(recipe, digits.folder, tmp_path / compiled, gpus, resume=False)
    plain, compiled = (load_file(tmp_path / name / "model.safetensors") for name in ("false", "true"))
    for name in plain:
        torch.testing.assert_close(compiled[name], plain[name], rtol=1e-4, atol=1e-5, msg=name)


def test_what_compile_does_not_go_with_is_told(small_recipe, monkeypatch):
    with pytest.raises(UserError, match="watch_every = 5 says nothing with compile"):
        small_recipe("compile=true", "watch_every=5")
    with pytest.raises(UserError, match="compile"):
        small_recipe("compile=max")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="needs a C.. compiler"):
        make_step(small_recipe('compile="reduce-overhead"'), 10, Layout())


def test_what_triton_lacks_on_cuda_is_told(small_recipe, monkeypatch, tmp_path):
    card = Layout(device=torch.device("cuda"))
    monkeypatch.delenv("CC", raising=False)
    with monkeypatch.context() as without, pytest.raises(UserError, match="needs Triton.*--device cpu"):
        without.setitem(sys.modules, "triton", None)
        make_step(small_recipe(), 10, card)
    with monkeypatch.context() as without, pytest.raises(UserError, match="needs a C compiler; install gcc"):
        without.setenv("PATH", "")
        make_step(small_recipe(), 10, card)
    (tmp_path / "gcc").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_paths", lambda _: {"include": str(tmp_path)})
    with pytest.raises(UserError, match="needs Python.h"):
        make_step(small_recipe(), 10, card)
