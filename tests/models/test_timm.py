"""What users of timm and torch do with a model."""

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torchvision.models.feature_extraction import create_feature_extractor

from alexnet_zoo.models import layer_shapes, model_names

SMALL = dict(width_mult=1 / 8, num_classes=5, init_std="he", init_bias=0.1)
README = Path(__file__).parents[2] / "README.md"


def small(name: str, **arguments):
    torch.manual_seed(0)
    return timm.create_model(name, **{**SMALL, **arguments}).eval()


@pytest.fixture(params=model_names())
def model(request):
    return small(request.param)


@pytest.fixture
def x(request):
    torch.manual_seed(1)
    return torch.randn(2, 3, 224, 224) * 60


def assert_same(found, expected, rtol: float = 1e-4) -> None:
    assert found.dtype == expected.dtype and found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=rtol, atol=rtol * expected.abs().max().item())


@torch.no_grad()
def test_compile_export_script_trace_fx_and_layouts(model, x):
    expected = model(x)
    assert expected.abs().max() > 0.1  # a difference would be seen
    torch.compiler.reset()
    assert_same(torch.compile(model, backend="aot_eager", fullgraph=True)(x), expected)
    batch = torch.export.Dim("batch")
    assert_same(torch.export.export(model, (x,), dynamic_shapes=({0: batch},)).module()(x[:1]), expected[:1])
    assert_same(torch.jit.script(model)(x), expected)
    assert_same(torch.jit.trace(model, x[:1])(x), expected)
    assert_same(torch.fx.symbolic_trace(model)(x), expected)
    channels_last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    assert_same(channels_last(x.to(memory_format=torch.channels_last)), expected)


@torch.no_grad()
def test_scripting_tells_networks_of_other_order_apart(x):
    for name in ("alexnet_bvlc", "caffenet_bvlc"):
        model = small(name)
        assert_same(torch.jit.script(model)(x), model(x))


def test_training_under_compile_gives_the_same_gradients(x):
    model = small("alexnet_krizhevsky_net145", drop_rate=0.0).train()
    model(x).square().sum().backward()
    expected = model.conv1.weight.grad.clone()
    model.zero_grad()
    torch.compiler.reset()
    torch.compile(model, backend="aot_eager", fullgraph=True)(x).square().sum().backward()
    assert_same(model.conv1.weight.grad, expected, rtol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("dtype, rtol", [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision(model, x, dtype, rtol):
    expected = model(x)
    assert_same(copy.deepcopy(model).to(dtype)(x.to(dtype)), expected.to(dtype), rtol)
    with torch.autocast("cpu", dtype):
        assert_same(model(x).float(), expected, rtol)


@torch.no_grad()
def test_copies_and_files(model, x, tmp_path):
    expected = model(x)
    assert_same(copy.deepcopy(model)(x), expected)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    on_meta = copy.deepcopy(model).to("meta")
    assert on_meta(x.to("meta")).shape == expected.shape
    on_meta.load_state_dict(load_file(tmp_path / "model.safetensors"), assign=True)
    assert_same(on_meta(x), expected, rtol=0)


class LocalHub:
    """As much of the Hugging Face hub as push_to_hf_hub needs, in a folder."""

    folder: Path

    def __init__(self, **_):
        pass

    def create_repo(self, repo_id, **_):
        from huggingface_hub import RepoUrl

        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def file_exists(self, filename, **_):
        return (self.folder / filename).exists()

    def upload_folder(self, folder_path, **_):
        shutil.copytree(folder_path, self.folder, dirs_exist_ok=True)


@torch.no_grad()
def test_push_to_hf_hub(model, x, tmp_path, monkeypatch):
    monkeypatch.setattr(timm.models._hub, "HfApi", LocalHub)
    monkeypatch.setattr(LocalHub, "folder", tmp_path / "hub", raising=False)
    timm.models.push_to_hf_hub(model, "someone/alexnet", model_args=SMALL)
    again = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True).eval()
    assert_same(again(x), model(x), rtol=0)


# Layers


def test_layer_shapes_are_the_papers():
    with torch.device("meta"):
        shapes = layer_shapes(timm.create_model("alexnet_krizhevsky"))
    assert list(shapes)[:5] == ["pad", "conv1", "relu1", "norm1", "pool1"]
    expected = {
        "conv1": (96, 55, 55),
        "pool1": (96, 27, 27),
        "conv2": (256, 27, 27),
        "pool2": (256, 13, 13),
        "conv3": (384, 13, 13),
        "conv4": (384, 13, 13),
        "conv5": (256, 13, 13),
        "pool5": (256, 6, 6),
        "fc6": (4096,),
        "fc7": (4096,),
        "fc8": (1000,),
    }
    assert expected.items() <= shapes.items()


@torch.no_grad()
def test_layers_can_be_taken(model, x):
    """By torchvision's extractor under each name of layer_shapes; by timm's two ways under the ReLUs."""
    shapes = layer_shapes(model)
    own_side = x[..., :0].new_zeros(1, 3, *model.pretrained_cfg["input_size"][1:])
    taken = create_feature_extractor(model, list(shapes))(own_side)
    assert {name: tuple(maps.shape[1:]) for name, maps in taken.items()} == shapes

    maps = model.forward_intermediates(x, intermediates_only=True)
    taken = create_feature_extractor(model, [info["module"] for info in model.feature_info])(x)
    for one, other in zip(maps, taken.values(), strict=True):
        assert_same(one, other)
    name = model.pretrained_cfg["architecture"]
    features = timm.create_model(name, features_only=True, **SMALL).eval()(x)
    assert [f.shape for f in features] == [m.shape for m in maps[: len(features)]]


def test_the_readmes_photograph(photographs, tmp_path):
    """The README's example, as it stands there, in a folder with a photograph."""
    text = README.read_text()
    code = text[text.index("<!-- fc7 of a photograph -->") :].split("```python\n")[1].split("```")[0]
    shutil.copy(next(photographs.glob("val/*/*.JPEG")), tmp_path / "photograph.jpg")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "torch.Size([1, 4096])" in done.stdout


def test_importing_adds_little_to_importing_timm():
    code = "import timm, time; started = time.process_time(); import alexnet_zoo; print(time.process_time() - started)"
    assert float(subprocess.check_output([sys.executable, "-c", code])) < 0.3
