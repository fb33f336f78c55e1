"""The README's commands: all are understood; those that need no data or weights from elsewhere run, in order."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from alexnet_zoo.cli import app

README = (Path(__file__).parents[1] / "README.md").read_text()
NOT_HERE = ("/data/imagenet", "IMAGENETTE", "PREPARED", "caffe.onnx", "alexnet_bvlc")  # photographs, others' weights


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
