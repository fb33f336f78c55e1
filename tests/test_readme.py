"""The README's commands: all are understood; those that need no data or weights from elsewhere run, in order."""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
import typer
from PIL import Image

import alexnet_zoo
from alexnet_zoo.cli import app
from alexnet_zoo.report.formats import MINUS
from alexnet_zoo.report.paper import load_paper
from alexnet_zoo.train.loop import train
from alexnet_zoo.train.recipe import load_recipe
from alexnet_zoo.train.run import Run

README = (Path(__file__).parents[1] / "README.md").read_text()
PUBLISHED = Path(__file__).parents[1] / "reports" / "published"
# photographs, others' weights
NOT_HERE = ("/data/imagenet", "MINE", "IMAGENETTE", "PREPARED", "caffe.onnx", "alexnet_bvlc")


def commands_in_blocks() -> list[list[str]]:
    """The words behind each `alexzoo`, in the README's order."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")
    lines = [shlex.split(part, comments=True) for line in blocks.splitlines() for part in line.split("&&")]
    return [words[1:] for words in lines if words and Path(words[0]).name == "alexzoo"]


def commands_in_text() -> list[list[str]]:
    text = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    found = [shlex.split(code) for code in re.findall(r"`alexzoo\s([^`]+)`", text)]
    return [words for words in found if words[0].islower()]


def test_every_command_is_understood():
    group = typer.main.get_command(app)
    found = [*commands_in_blocks(), *commands_in_text()]
    assert len(found) > 12
    for name, *arguments in found:
        group.commands[name].make_context(name, arguments, resilient_parsing=False)  # raises what a user would read


def run(arguments: list[str], folder: Path) -> str:
    """What a command prints; fails where it does."""
    environment = {**os.environ, "ALEXZOO_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "alexnet_zoo", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


def test_fine_tuning_in_python(tmp_path, digits, monkeypatch):
    """The README's lines, as they stand there: dark and bright photographs, from a network that was hardly trained."""
    code = README.partition("<!-- fine-tuning -->")[2].partition("```python\n")[2].partition("```")[0]
    sizes = [f"image_size={digits.image_size}", "crop_size=64", "model_args.img_size=64", "input_scale=58"]
    recipe = load_recipe("digits", [*sizes, "model_args.init_std=he", "epochs=0.1"])
    train(Run(tmp_path / "runs" / "digits", recipe, digits))
    for shade, name in ((40, "dark"), (215, "bright")):
        (folder := tmp_path / "photographs" / "train" / name).mkdir(parents=True)
        for number in range(32):
            Image.new("RGB", (96, 80), (shade + number % 8,) * 3).save(folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict = {}
    exec(code, names)
    model, transform = names["model"].eval(), timm.data.create_transform(**names["config"])
    with torch.no_grad():
        pictures = [Image.new("RGB", (96, 80), (shade,) * 3) for shade in (215, 40)]
        found = [model(transform(picture)[None]).argmax().item() for picture in pictures]
    assert found == [0, 1] and model.num_classes == 2  # bright, dark


CLAIMS = README.partition("<!-- claims -->")[2].partition("![")[0]


@pytest.mark.parametrize("text", [CLAIMS, (PUBLISHED / "README.md").read_text()], ids=["README", "published"])
def test_the_claims_are_what_the_studies_found(text):
    """Each effect with its interval, as in the studies' tables, which are held against their runs elsewhere."""
    told = " ".join(text.split())
    for name in ("claims", "claims-dropout", "claims-pooling", "cifar-lrn"):
        table = PUBLISHED / "studies" / name / f"{name}.csv"
        for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines()):
            texts = [row[key] for key in ("effect", "effect_low", "effect_high")]
            signed = [text if "ratio" in row["quantity"] or text.startswith("-") else f"+{text}" for text in texts]
            assert "{} ({} to {})".format(*signed).replace("-", MINUS) in told, row["claim"]


def test_the_citation_is_of_this_version():
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((Path(__file__).parents[1] / "CITATION.cff").read_text())
    assert citation["version"] == alexnet_zoo.__version__ and citation["license"] == "Apache-2.0"
    assert citation["references"][0]["title"] == load_paper().paper.title


@pytest.mark.slow
def test_the_commands_run_in_their_order(tmp_path):
    run(["export", "alexnet_krizhevsky", "--out", "other.onnx"], tmp_path)  # the reader's own file
    commands = [words for words in commands_in_blocks() if not any(part in " ".join(words) for part in NOT_HERE)]
    assert [words[0] for words in commands] == ["reproduce", "export", "evaluate", "benchmark"]
    for words in commands:
        run(words, tmp_path)
    assert (tmp_path / "runs" / "digits" / "results.csv").is_file()
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 1 + 364
    assert list((tmp_path / "figures").iterdir())
