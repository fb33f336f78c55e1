"""`alexzoo evaluate --submission`: its lines against the errors that evaluate finds on the same images."""

import json
import shutil

import numpy as np
import pytest

from alexnet_zoo import pipeline
from alexnet_zoo.cli import main
from alexnet_zoo.data.prepared.dataset import open_prepared
from alexnet_zoo.errors import UserError
from alexnet_zoo.onnx.evaluate import evaluate

IDS = [3, 10, 1, 7, 2, 9, 4, 8, 6, 5]  # of the classes 0 to 9


@pytest.fixture
def with_ids(digits, tmp_path):
    """The digits as if they had come with a kit."""
    folder = shutil.copytree(digits.folder, tmp_path / "digits")
    described = json.loads((folder / "prepared.json").read_text())
    (folder / "prepared.json").write_text(json.dumps(described | {"devkit_ids": IDS}))
    return folder


def test_lines_say_what_evaluate_counts(exported, another, with_ids, tmp_path, monkeypatch, capsys):
    files = [str(exported.path), str(another.path)]
    arguments = ["--data", str(with_ids), "--split", "test", "--views", "1", "--device", "cpu"]
    submission = tmp_path / "submission.txt"
    monkeypatch.setattr("sys.argv", ["alexzoo", "evaluate", *files, *arguments, "--submission", str(submission)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code and "364 images" in capsys.readouterr().out
    lines = [[int(number) for number in line.split()] for line in submission.read_text().splitlines()]
    test = open_prepared(with_ids).split("test")
    order = np.argsort([int(name.split("/")[1]) for name in test.names])
    truth = [IDS[label] for label in test.labels[order]]
    row = evaluate([exported.path, another.path], test, 1, "cpu")
    top1 = np.mean([label != line[0] for line, label in zip(lines, truth, strict=True)])
    top5 = np.mean([label not in line for line, label in zip(lines, truth, strict=True)])
    assert {len(set(line)) for line in lines} == {5}
    assert f"{100 * top1:.3f}" == row["top1_err"] and f"{100 * top5:.3f}" == row["top5_err"]


def test_data_without_a_kit(exported, digits, tmp_path):
    with pytest.raises(UserError, match="has no devkit ids"):
        pipeline.submit([exported.path], digits.split("test"), digits.devkit_ids, tmp_path / "x.txt", 1, device="cpu")
    assert not (tmp_path / "x.txt").exists()


def test_errors_on_data_without_labels_are_refused(exported, digits):
    test = open_prepared(digits.folder).split("test")
    test.labels = np.full_like(test.labels, -1)
    with pytest.raises(UserError, match="its labels are not known; --submission FILE"):
        evaluate([exported.path], test, 1, "cpu")
