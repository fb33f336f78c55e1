"""A small real study: digits at an eighth of the width, killed, resumed, with a run that fails."""

import os
import signal
import subprocess
import sys
import time

import pytest

from alexnet_zoo.errors import UserError
from alexnet_zoo.report.studies import PUBLISHED, report_study, study_tables
from alexnet_zoo.study.runner import Jobs, place, run
from alexnet_zoo.study.study import load_study
from alexnet_zoo.study.summary import summarise

PLAN = """
recipe = "digits"
data = "digits"
seeds = 2
[set]
image_size = 72
crop_size = 64
model_args = { img_size = 64, width_mult = 0.125, init_std = "he", init_bias = 0.0 }
input_scale = 58.0
epochs = 1
[arms]
base = { seeds = 3 }
no-lrn = { set = { model_args = { lrn = false } } }
[[compare]]
claim = "lrn"
arms = ["base", "no-lrn"]
smallest = 1.0
[[compare]]
claim = "ten-crops"
arms = ["base", "base"]
views = [10, 1]
smallest = 1.0
[[compare]]
claim = "weight-decay"
arms = ["base", "no-lrn"]
measure = "train_error"
smallest = 1.0
[[compare]]
says = "Two networks averaged against one"
arms = ["base", "base"]
average = [2, 1]
smallest = 1.0
[[compare]]
claim = "specialisation"
arms = ["base", "base"]
measure = "colour_apart"
smallest = 0.33
"""
NPZ = ("predictions-10.npz", "predictions-1.npz")
BROKEN = "\nbroken = { seeds = 1, set = { batch_size = 5000 } }\n[[compare]]"


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "small.toml").write_text(PLAN)
    return load_study(tmp_path / "small.toml")


def test_commands_begin_with_one_seed_of_every_arm(plan, tmp_path):
    lines = Jobs(plan, tmp_path / "out", tmp_path / "data").lines()
    folders = [line.split("--out ")[1].split()[0].split("/")[-1] for line in lines]
    assert folders == ["base-seed0", "no-lrn-seed0", "base-seed1", "no-lrn-seed1", "base-seed2"]
    (train, then), run = lines[3].split(" && "), f"{tmp_path}/out/no-lrn-seed1"
    assert train.startswith(f"alexzoo reproduce digits --data {tmp_path}/data --out {run} --set image_size=72")
    assert train.endswith("--set model_args.lrn=false --set seed=1")
    assert then == f"alexzoo evaluate {run} --data {tmp_path}/data --split train --views 1 --out {run}/train.csv"


def test_a_run_of_another_recipe_in_the_place_of_a_planned_one_is_refused(plan, tmp_path):
    run = tmp_path / "out" / "base-seed0"
    run.mkdir(parents=True)
    (run / "recipe.toml").write_text('base = "digits"\nname = "digits"\nseed = 1\n')
    with pytest.raises(UserError, match="its recipe is not what the plan says now"):
        Jobs(plan, tmp_path / "out")


def test_a_study_killed_as_a_run_ended_leaves_no_checkpoints(plan, tmp_path):
    """SIGTERM while a run writes its report, after results.csv: it is finished, and nobody continues it."""
    for job in Jobs(plan, tmp_path / "out").all:
        (job.folder / "checkpoints" / "step-00000001").mkdir(parents=True)
        (job.folder / "results.csv").write_text("")
        (job.folder / "train.csv").write_text("")
    run(plan, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*/checkpoints"))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are given on Linux alone")
def test_each_slot_has_cores_of_its_own():
    before = os.sched_getaffinity(0)
    try:
        cores = []
        for slot in range(2):
            os.sched_setaffinity(0, before)
            assert place(slot, 2, [])["OMP_NUM_THREADS"] == str(len(os.sched_getaffinity(0)))
            cores.append(os.sched_getaffinity(0))
    finally:
        os.sched_setaffinity(0, before)
    assert place(0, 1, ["0"]) == {}
    assert cores[0] | cores[1] == before
    assert not cores[0] & cores[1] or len(before) == 1


def test_each_slot_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    assert [place(slot, 4, ["2", "5"])["CUDA_VISIBLE_DEVICES"] for slot in range(4)] == ["2", "5", "2", "5"]
    assert "CUDA_VISIBLE_DEVICES" not in place(0, 2, [])


@pytest.mark.slow
def test_a_study_killed_and_resumed_with_a_run_that_fails(tmp_path):
    """SIGKILL leaves no run behind that the same command would find training; SIGTERM is told."""
    plan_file, out = tmp_path / "small.toml", tmp_path / "studies" / "small"
    plan_file.write_text(PLAN.replace("\n[[compare]]", BROKEN, 1))
    environment = os.environ | {"ALEXZOO_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "alexnet_zoo", "study", str(plan_file), "--out", str(out), "--jobs", "2"]

    killed = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    until(lambda: list(out.glob("*/metrics.jsonl")))
    killed.kill()
    killed.wait()

    begun = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    until(lambda: list(out.glob("*/results.csv")) and list(out.glob("*-seed1/recipe.toml")))
    begun.send_signal(signal.SIGTERM)
    _, said = begun.communicate(timeout=120)
    assert begun.returncode == 130 and "the same command goes on" in said
    finished = {path: path.stat().st_mtime_ns for path in out.glob("*/results.csv")}
    assert 1 <= len(finished) < 5

    ended = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 1
    assert "1 of 6 failed" in ended.stderr and "broken-seed0" in ended.stderr.splitlines()[-1]
    assert "do not fill a batch of 5000" in ended.stderr.splitlines()[-1]
    assert all(path.stat().st_mtime_ns == before for path, before in finished.items())

    plan_file.write_text(PLAN)
    plan = load_study(plan_file)
    assert Jobs(plan, out).lines() == []
    assert not list(out.glob("*/checkpoints"))
    check_what_it_found(Jobs(plan, out), plan_file)

    (tmp_path / "second.toml").write_text('uses = ["small"]\n' + PLAN.replace("[arms]\nbase", "[arms]\nsame-as-base"))
    second = (tmp_path / "second.toml").read_text().replace('"base"', '"same-as-base"')
    (tmp_path / "second.toml").write_text(second)
    assert Jobs(load_study(tmp_path / "second.toml"), tmp_path / "studies" / "second").lines() == []


def check_what_it_found(jobs, plan_file):
    """The published study gives the same tables as the runs, without them, and names no path of this machine."""
    report_study(str(plan_file), jobs.out, jobs.out.parent / "published")
    copy = Jobs(jobs.plan, jobs.out.parent / "published")
    tables = study_tables(copy, summarise(copy))
    assert tables == study_tables(jobs, summarise(jobs))
    assert {"small.md", "small.csv", "small-arms.tex"} <= tables.keys()
    files = [path for path in copy.out.rglob("*") if path.is_file()]
    assert {path.name for path in copy.out.glob("base-seed0/*")} == {*PUBLISHED, *NPZ} - {"diverged.json"}
    assert not [path for path in files if str(jobs.out.parent).encode() in path.read_bytes()]
    before = {path: path.read_bytes() for path in files}
    report_study(str(plan_file), copy.out)
    assert {path: path.read_bytes() for path in files} == before
    *found, columns = summarise(jobs)
    assert [len(each.first) for each in (*found, columns)] == [3, 3, 3, 3, 3]
    for each in (*found, columns):
        assert each.low <= each.effect <= each.high and 0.05 < each.p_holm <= 1
    assert 0 <= min(columns.second) <= max(columns.first) <= 1


def until(true, seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.2)
