"""Sessions of onnxruntime: what they run on, and what is said where that is not what was asked for."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from alexnet_zoo.declared import list_declared
from alexnet_zoo.errors import UserError
from alexnet_zoo.onnx.evaluate import as_probabilities, averaged, open_members
from alexnet_zoo.onnx.export import export
from alexnet_zoo.onnx.quantize import cost_of
from alexnet_zoo.onnx.session import CPU, CUDA, OnnxClassifier, check_device, open_session
from alexnet_zoo.onnx.target import load_target


def test_the_provider_is_the_one_really_used(exported):
    assert OnnxClassifier(exported.path, "auto").provider == CPU
    assert OnnxClassifier(exported.path, "cpu").provider == CPU
    for call in (lambda device: OnnxClassifier(exported.path, device), check_device):
        with pytest.raises(UserError, match="auto, cpu or cuda") as error:
            call("gpu")
        assert error.value.exit_code == 2


def test_cuda_is_refused_where_there_is_none(exported):
    # onnxruntime itself would run on the CPU here, and list CUDA as available
    for call in (lambda device: OnnxClassifier(exported.path, device), check_device):
        with pytest.raises(UserError, match="no usable CUDA device"):
            call("cuda")
    check_device("auto")


def test_a_session_that_does_not_get_cuda_says_so(exported, capsys):
    """As where torch finds a device and onnxruntime cannot use it."""
    with pytest.raises(UserError, match=f"{exported.path}: onnxruntime cannot open it on {CUDA}: "):
        open_session(exported.path, (CUDA,))
    session = open_session(exported.path, (CUDA, CPU))
    assert session.get_providers() == [CPU]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{exported.path}: onnxruntime cannot open it on {CUDA}: ")
    assert line.endswith(f"; it runs on {CPU}")


def test_eight_bits_run_on_the_cpu_and_say_so(exported, tmp_path, capsys):
    side = OnnxClassifier(exported.path, "cpu").input_size
    crops = np.random.default_rng(0).normal(size=(2, 3, side, side)).astype(np.float32) * 60
    path = export(exported.model, tmp_path / "eight.onnx", {}, (3, side, side), load_target("int8"), crops)
    session = open_session(path, (CUDA, CPU), OnnxClassifier(path, "cpu").precision)
    assert session.get_providers() == [CPU]
    assert "8-bit layers are the CPU's" in capsys.readouterr().err


def test_what_the_cuda_provider_links_to_is_installed():
    """But for the driver's own library. A session on a machine with a card fails where one is missing."""
    provider = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    if not provider.exists() or not shutil.which("readelf"):
        pytest.skip("no onnxruntime-gpu here, or no readelf to look into it")
    listed = subprocess.run(["readelf", "-d", provider], capture_output=True, text=True, check=True).stdout
    needed = set(re.findall(r"\(NEEDED\).*\[(lib(?:cu|nv).*)\]", listed)) - {"libcuda.so.1"}
    installed = {file.name for file in provider.parents[2].glob("nvidia/*/lib/*.so*")}
    assert needed and needed <= installed, f"{needed - installed}: require the package that holds it"


@pytest.mark.cuda
@pytest.mark.parametrize("name", [path.stem for path in list_declared("export")])
def test_every_target_gives_on_a_card_what_the_cpu_gives(exported, tmp_path, capsys, name):
    """But for 8 bits, which run on the CPU there too, and say so."""
    target, metadata, random = load_target(name), exported.metadata, np.random.default_rng(0)
    crop, image, eight = int(metadata["crop_size"]), int(metadata["image_size"]), target.precision == "int8"
    images = random.normal(size=(4, 3, crop, crop)).astype(np.float32) * 60
    path = tmp_path / f"{name}.onnx"
    export(exported.model, path, metadata, (3, crop, crop), target, images if eight else None)
    if target.layout == "pixels":
        images = random.integers(0, 256, (4, image, image, 3), dtype=np.uint8)
    card, cpu = (OnnxClassifier(path, device) for device in ("auto", "cpu"))
    said = capsys.readouterr().err
    assert card.provider == (CPU if eight else CUDA) and ("8-bit layers are the CPU's" in said) is eight, said
    tolerance = 2e-2 if target.precision == "float16" else 1e-4
    found, expected = (as_probabilities(classifier.run(images)) for classifier in (card, cpu))
    np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.cuda
def test_cuda_gives_what_the_cpu_gives_with_and_without_a_graph(exported):
    cpu = OnnxClassifier(exported.path, "cpu")
    side = cpu.input_size
    first, second = np.random.default_rng(0).normal(size=(2, 4, 3, side, side)).astype(np.float32) * 60
    for graph in (False, True):
        cuda = OnnxClassifier(exported.path, "cuda", cuda_graph=graph)
        for images in (first, second, second[:2]):  # what is played back must read the new images
            np.testing.assert_allclose(cuda.run(images), cpu.run(images), rtol=1e-3, atol=1e-4)


@pytest.mark.cuda
def test_what_fp16_costs_on_cuda(exported, digits, tmp_path):
    """Against float32 on the CPU, by the whole evaluation: another class only where two were about as probable."""
    side, split = int(exported.metadata["crop_size"]), digits.split("test")
    fp16 = export(exported.model, tmp_path / "fp16.onnx", exported.metadata, (3, side, side), load_target("fp16"))
    scores = []
    for path, device in ((fp16, "cuda"), (exported.path, "cpu")):
        scores.append(averaged(open_members([path], split, 1, device), split, 1))
    cost = cost_of(*scores, split.labels)
    assert cost.images == len(split) and cost.disagreement <= 2 and abs(cost.top1_change) <= 2
