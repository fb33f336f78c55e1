"""The command line as a user meets it: real processes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from PIL import Image

from alexnet_zoo.cli import fail, main
from alexnet_zoo.resolve import open_data

SMALL = ["--set", "image_size=72", "--set", "crop_size=64", "--set", "model_args.img_size=64"]
SMALL += ["--set", "model_args.width_mult=0.125", "--set", "epochs=1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


def start(folder, *arguments: str) -> subprocess.Popen:
    (folder / "tmp").mkdir(exist_ok=True)
    environment = {**os.environ, "ALEXZOO_CACHE": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}
    environment["TMPDIR"] = str(folder / "tmp")
    installed = "import sys; sys.argv[0] = 'alexzoo'; from alexnet_zoo.cli import main; main()"  # as pip's script
    command = [sys.executable, "-c", installed, *arguments]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    return subprocess.Popen(command, cwd=folder, env=environment, **pipes)


def run(folder, *arguments: str) -> tuple[int, str, str]:
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


def left_behind(folder) -> list[str]:
    """What lies in the temporary folder but for what onnxruntime and torch keep there from run to run."""
    return [path.name for path in (folder / "tmp").iterdir() if not path.name.startswith((".ses", "torchinductor_"))]


@pytest.fixture
def inside(folder, monkeypatch, capfd):
    """Runs a command in this process, where torch is loaded already: (exit code, what it printed, its errors)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("ALEXZOO_CACHE", str(folder / "cache"))
        monkeypatch.setattr(sys, "argv", ["alexzoo", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a command ends deaf to it
        return ended.value.code or 0, *capfd.readouterr()

    return call


def test_the_whole_way_in_two_processes_then_each_stage_alone(folder, inside):
    code, out, err = run(folder, "reproduce", "--gpus", "2", "--out", "run", *SMALL)
    assert code == 0, err
    says = [
        "loading torch",
        "starting 2 processes",
        "recipe digits: the two columns in 2 CPU processes",
        "preparing the dig",
    ]
    says += ["epoch 1 of 1: training error \\d+.\\d+%, test error \\d+", "training digits: ", "exporting to ONNX"]
    says += ["evaluating test, 10 views", "evaluating test, 1 view", "writing the report"]
    assert re.search("^" + "(?s:.*)\n".join(f"{line}.*" for line in says), err), err
    assert re.search(r"digits test, 364 images, ten crops: top-1 error \d+\.\d+%", out)
    files = {"weights": "model.safetensors", "ONNX": "model.onnx", "numbers": "results.csv"}
    files["report"] = "report/report.html"
    assert out.splitlines()[-4:] == [f"{name:8} run/{file}" for name, file in files.items()]
    assert all((folder / "run" / file).stat().st_size > 0 for file in files.values())
    assert left_behind(folder) == []
    made = ["recipe.toml", "environment.json", "metrics.jsonl", "summary.csv", "model.safetensors", "model.onnx"]
    for name in [*made, "results.csv", "report/report.md", "report/table1.csv", "report/table2.csv"]:
        assert (folder / "run" / name).stat().st_size > 0, name

    code, out, err = inside("evaluate", "run", "--views", "10", "--out", "again.csv")
    assert code == 0, err
    header, ten, _ = (folder / "run" / "results.csv").read_text().splitlines()
    assert (folder / "again.csv").read_text().splitlines() == [header, ten]

    code, out, err = inside("export", "run", "--out", "again.onnx")
    assert code == 0, err
    assert (folder / "again.onnx").read_bytes() == (folder / "run" / "model.onnx").read_bytes()

    code, out, err = inside("report", "run", "--out", "report")
    assert code == 0, err
    assert (folder / "report" / "runs.csv").read_text() == (folder / "run" / "report" / "runs.csv").read_text()

    code, _, err = inside("reproduce", "--out", "run")
    assert code != 0 and "--resume" in err


def test_a_file_in_a_run_knows_its_data_and_others_can_be_named(folder, inside):
    """The embedded data by its name, and pictures, which are prepared to the size that the file needs."""
    code, _, err = inside("reproduce", "--out", "knows", *SMALL, "--set", "epochs=0")
    assert code == 0, err
    split = open_data(Path("digits"), 72).split("test")
    for number in range(0, len(split), 3):
        place = folder / "pictures" / "val" / split.classes[split.labels[number]]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(split.gather([number], [0], [0], 72).numpy()[0]).save(place / f"{number}.png")
    code, out, err = inside("export", "knows", "--data", "pictures", "--out", "val-alone.onnx")
    assert code == 0 and "differ from torch's" in out, err
    said = []
    for data in ([], ["--data", "digits"], ["--data", "pictures"]):
        code, out, err = inside("evaluate", "knows/model.onnx", "--views", "1", *data, "--predictions", "p.csv")
        assert code == 0, err
        said.append(out)
    assert said[0] == said[1] and "364 images" in said[0] and "122 images" in said[2]
    assert len((folder / "p.csv").read_text().splitlines()) == 1 + 122


@pytest.mark.cuda
@pytest.mark.parametrize("gpus", ["1", "2"])
def test_the_whole_way_on_a_card(folder, gpus):
    """In two processes too, which share it where there is no other: the README's first command."""
    name = f"card-{gpus}"
    whole = ["reproduce", "--device", "cuda", "--gpus", gpus, "--out", name, *SMALL, "--set", "epochs=0.2"]
    code, out, err = run(folder, *whole)
    assert code == 0, err
    assert re.search(f"recipe digits: .* in {gpus} (processes that share too few )?CUDA device", err), err
    assert "ten crops: top-1 error" in out and (folder / name / "report" / "report.html").exists()
    assert json.loads((folder / name / "environment.json").read_text())["tf32"] == "convolutions"
    assert left_behind(folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("sent, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_or_sigterm_then_resume(folder, sent, code):
    name = f"stopped-{sent.name}"
    process = start(folder, "reproduce", "--gpus", "2", "--out", name, *SMALL, "--set", "epochs=2000")
    metrics = folder / name / "metrics.jsonl"
    while not metrics.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    assert f"continue with: alexzoo reproduce --resume --out {name} --gpus 2" in err.splitlines()[-1]
    assert list((folder / name / "checkpoints").glob("step-*"))
    code, out, err = run(folder, "reproduce", "--resume", "--out", name, "--set", "epochs=1")
    assert code == 0, err
    environment = json.loads((folder / name / "environment.json").read_text())
    assert [stretch["processes"] for stretch in environment["stretches"]] == [2, 2]  # as before, though not asked for


@pytest.mark.slow
@pytest.mark.parametrize(
    "gpus, moment, wait",
    [
        ("1", "loading torch", 1.0),
        ("2", "starting 2 processes", 2.0),
        ("2", "exporting to ONNX", 1.0),
    ],
)
def test_ctrl_c_at_any_moment(folder, gpus, moment, wait):
    """As a terminal sends it, to all processes: one line, none of torch's, nothing left in the temporary folder."""
    process = start(folder, "reproduce", "--gpus", gpus, "--out", "any", *SMALL)
    next(line for line in process.stderr if line.startswith(moment))
    time.sleep(wait)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    lines = [
        line for line in err.splitlines() if line and not re.match("start|recipe|prep|mean|train|epoch|eval|writ", line)
    ]
    assert process.returncode == 130 and len(lines) == 1, err
    assert re.match("alexzoo: (error: )?stopped.*(continue with: .*--resume --out any|the same command)", lines[0])
    assert left_behind(folder) == []
    shutil.rmtree(folder / "any", ignore_errors=True)


@pytest.mark.parametrize(
    "arguments, code, says",
    [
        (["reproduce", "tabel2-one-cnn"], 2, ["tabel2-one-cnn", "table2-one-cnn"]),
        (["reproduce", "--set", "epoch=5"], 2, ["epoch: no such field", "did you mean epochs?"]),
        (["reproduce", "--gpus", "3"], 2, ["--gpus 3", "2 columns"]),
        (["reproduce", "table2-one-cnn"], 2, ["ILSVRC-2012", "--data"]),
        (["reproduce", "table2-one-cnn", "--data", "nowhere"], 1, ["nowhere"]),
        (["reproduce", "--gpus", "2", "--data", "/dev/null/no"], 1, ["/dev/null/no", "no such folder"]),
        (["reproduce", "--out", "/dev/null/no"], 1, ["/dev/null/no", "Not a directory"]),
        (["reproduce", "--out", "/proc/run"], 1, ["/proc/run", "cannot be written"]),
        (["study", "claims", "--data", "digits", "--out", "/proc/study"], 1, ["/proc/study", "cannot be written"]),
        (["reproduce", "--resume", "--out", "nowhere"], 1, ["nowhere", "no run to resume"]),
        (["reproduce", "--device", "cuda", "--out", "nowhere"], 1, ["--device cuda", "no usable CUDA device"]),
        (["export", "alexnet_krizhevsky", "--target", "int8"], 2, ["int8", "--data"]),
        (["export", "alexnet_krizhevski"], 2, ["alexnet_krizhevski", "did you mean alexnet_krizhevsky?"]),
        (["evaluate", "nowhere.onnx"], 1, ["nowhere.onnx: no such file"]),
        (["evaluate", "alexnet_bvlc"], 2, ["--data"]),
        (["import", "nowhere"], 1, ["nowhere: no such file"]),
        (["compare", "nowhere"], 1, ["nowhere: no such run folder"]),
        (["push", "nowhere", "owner/name", "--dry-run"], 1, ["nowhere: no such folder"]),
        (["export"], 2, ["export: name a run's folder or a model"]),
        (["push"], 2, ["'run'", "alexzoo push --help"]),
        (["export", "a.safetensors", "--checkpoint", "b.safetensors"], 2, ["b.safetensors", "its own weights"]),
        (["evaluate", "alexnet_bvlc", "--data", "digits", "--out", "/dev/null/a.csv"], 1, ["/dev/null/a.csv"]),
        (["evaluate", "alexnet_bvlc", "--data", "digits", "--predictions", "/proc/p.csv"], 1, ["/proc/p.csv"]),
        (["evaluate", "alexnet_bvlc", "--data", "digits", "--submission", "."], 2, [".: is a folder"]),
        (["export", "alexnet_krizhevsky", "--out", "/proc/a.onnx"], 1, ["/proc/a.onnx", "cannot be written"]),
        (["prepare", "photographs", "/proc/prepared"], 1, ["/proc/prepared", "cannot be written"]),
        (["benchmark", "lrn", "--out", "/proc/figures"], 1, ["/proc/figures", "cannot be written"]),
        (["report", "nowhere", "--out", "/proc/report"], 1, ["/proc/report", "cannot be written"]),
        (["report", "nowhere"], 1, ["nowhere"]),
        (["benchmark", "inference", "--seconds", "-1"], 2, ["--seconds", "or equal to 0"]),
        (["benchmark", "inference", "--against", "nowhere.onnx"], 2, ["--against nowhere.onnx: no such file"]),
        (["benchmark", "inferense"], 2, ["inferense", "did you mean inference? there are all, columns"]),
        (["models", "alexnet_krizhevski"], 2, ["did you mean alexnet_krizhevsky?", "alexnet_bvlc, alexnet_kr"]),
        (["export", "runs", "--target", "palin"], 2, ["did you mean plain?"]),
        (["reproduce", "--set", "epochs=-1"], 2, ["error: digits: epochs = -1"]),
        (["evaluate", "a.onnx", "--mean", ".4,.4,.4", "--std", "58,58,58"], 2, ["--mean", "--std", "0 to 255"]),
        (["trian"], 2, ["trian"]),
        (["reproduce", "--gpus", "two"], 2, ["--gpus", "integer"]),
    ],
)
def test_wrong_arguments_end_in_one_line(folder, inside, arguments, code, says):
    found, out, err = inside(*arguments)
    assert found == code and out == ""
    assert "Traceback" not in err and "unforeseen" not in err
    assert [line.startswith("alexzoo: error: ") for line in err.splitlines()][-1:] == [True]
    for part in says:
        assert part in err.splitlines()[-1]
    assert not (folder / "runs" / "table2-one-cnn").exists() and not (folder / "nowhere").exists()


def test_ctrl_c_while_a_compiled_module_is_imported(capsys):
    try:
        raise ImportError("initialization failed") from KeyboardInterrupt()
    except ImportError as error:
        assert fail(error) == 130
    assert "stopped" in capsys.readouterr().err
    assert fail(ImportError("initialization failed")) == 1 and "unforeseen" in capsys.readouterr().err


def test_a_real_process_says_one_line_and_debug_shows_the_traceback(folder):
    code, _, err = run(folder, "reproduce", "--gpus", "3")
    said = [line for line in err.splitlines() if not line.startswith("loading torch")]
    assert code == 2 and len(said) == 1 and said[0].startswith("alexzoo: error: --gpus 3")
    code, _, err = run(folder, "reproduce", "--gpus", "3", "--debug")
    assert code != 0 and "Traceback" in err


def test_help_shows_an_example_for_each_command_and_loads_no_room(folder):
    """In one process, whose first argument is the command's file, as it is under the installed script."""
    code = (
        "import sys, typer; sys.argv[0] = '/usr/bin/alexzoo'\n"
        "from alexnet_zoo.cli import app\n"
        "for name in [None, *typer.main.get_command(app).commands]:\n"
        "    app([name, '--help'] if name else ['--help'], standalone_mode=False)\n"
        "print(sorted({'torch', 'timm', 'numpy', 'pandas'} & set(sys.modules)))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True).stdout
    commands = {name for name in re.findall(r"^  (\w+)  ", out, re.MULTILINE)}
    assert {"models", "recipes", "prepare", "reproduce", "export", "evaluate", "report"} <= commands
    assert "..." not in out.partition("Usage: alexzoo models")[0].partition("Commands:")[2]  # no sentence is cut
    for command in commands:
        assert f"Example: alexzoo {command}" in out
    assert out.splitlines()[-1] == "[]"


def test_models_and_recipes_are_listed(inside):
    code, out, _ = inside("models")
    assert code == 0 and re.search(r"alexnet_krizhevsky +60,965,224", out)
    code, out, _ = inside("recipes")
    groups = {group.splitlines()[0].split(",")[0]: group for group in out.split("\n\n")}
    assert code == 0 and list(groups)[:4] == ["Table 1", "Table 2", "The paper's other claims", "Studies"]
    assert "  table2-one-cnn            ILSVRC-2012        130 hours on two GTX 580\n" in groups["Table 2"]
    assert "  digits                    digits             two minutes on two CPU cores\n" in groups["Our own"]
    assert re.search(r"  claims +Imagenette +\w+ hours on two CPU cores\n", groups["Studies"])
    assert max(map(len, out.splitlines())) <= 80 and out.count(" on two ") > 30
    code, out, _ = inside("recipes", "table2-one-cnn-pretrained")
    assert code == 0 and re.search(r"batch_size = 128 +# table2-one-cnn.toml\n", out)
    assert re.search(r"epochs = 54.0 +# table2-one-cnn-pretrained.toml\n", out)
    assert re.search(r"keep_checkpoints = 2 +# default\n", out)


def test_models_tells_what_networks_cost(inside):
    code, out, _ = inside("models", "alexnet_krizhevsky_6conv", "--batch-size", "2")
    assert code == 0 and "relu_conv6" in out and "61,555,304" in out
    code, _, err = inside("models", "resnet50")
    assert code == 2 and err.count("\n") == 1 and "no such network" in err


def test_export_of_a_model_by_its_name(inside, folder):
    code, out, err = inside("export", "cifar10_krizhevsky_18pct")
    assert code == 0 and "untrained" in out, err
    proto = onnx.load(folder / "cifar10_krizhevsky_18pct.onnx")
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert (metadata["model"], metadata["image_size"], metadata["weights_sha256"]) == (
        "cifar10_krizhevsky_18pct",
        "32",
        "",
    )
    assert json.loads(metadata["mean"]) == pytest.approx([125.307, 122.961, 113.8575])


def test_import_of_torchvisions_weights(inside, folder):
    import torch
    import torchvision

    torch.save(torchvision.models.alexnet(num_classes=2).state_dict(), folder / "theirs.pth")
    code, out, err = inside("import", "theirs.pth", "--out", "ours.safetensors")
    assert code == 0 and "ours.safetensors: weights of alexnet_owt" in out, err
    (folder / "noise.caffemodel").write_bytes(b"noise" * 100)
    code, _, err = inside("import", "noise.caffemodel")
    assert code == 1 and err.count("\n") == 1 and "noise.caffemodel" in err


def test_timm_runs_a_script_with_our_networks(inside, folder):
    script = folder / "script.py"
    script.write_text("import sys, timm\nif __name__ == '__main__': print(timm.is_model(sys.argv[2]), sys.argv[1:])")
    code, out, _ = inside("timm", "script.py", "--model", "alexnet_bvlc", "--help")
    assert code == 0 and "True ['--model', 'alexnet_bvlc', '--help']" in out
    code, _, err = inside("timm", "nowhere.py")
    assert code == 2 and "no such script" in err
