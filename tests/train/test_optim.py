import numpy as np
import pytest
import torch

from alexnet_zoo.train.optim import PaperSGD, Schedule
from alexnet_zoo.train.recipe import Recipe


def test_follows_section_5_through_two_drops_of_the_rate():
    rng = np.random.default_rng(0)
    w, v = rng.normal(size=20), np.zeros(20)
    weight = torch.nn.Parameter(torch.tensor(w))
    optimizer = PaperSGD([weight], lr=0.01, momentum=0.9, weight_decay=0.0005)
    for step in range(90):
        eps = 0.01 / 10 ** (step // 30)
        gradient = rng.normal(size=20)
        v = 0.9 * v - 0.0005 * eps * w - eps * gradient
        w = w + v
        optimizer.param_groups[0]["lr"] = eps
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        np.testing.assert_allclose(weight.detach().numpy(), w, rtol=1e-12)


def test_differs_from_torchs_sgd_only_once_the_rate_changes():
    ours, theirs = (torch.nn.Parameter(torch.ones(4, dtype=torch.float64)) for _ in range(2))
    a = PaperSGD([ours], lr=0.1, momentum=0.9, weight_decay=0.01)
    b = torch.optim.SGD([theirs], lr=0.1, momentum=0.9, weight_decay=0.01)
    for step in range(6):
        if step == 3:
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
            a.param_groups[0]["lr"] = b.param_groups[0]["lr"] = 0.01
        ours.grad, theirs.grad = torch.full((2, 4), 0.5 + step, dtype=torch.float64)
        a.step()
        b.step()
    assert (ours - theirs).abs().min() > 1e-3


def rates(recipe: Recipe, errors: list[float]) -> list[float]:
    schedule, seen = Schedule(recipe), []
    for epoch, error in enumerate(errors, start=1):
        seen.append(schedule.lr)
        schedule.end_epoch(epoch, error)
    return seen


def test_plateau_divides_the_rate_when_the_error_stops_falling_three_times_at_most():
    recipe = Recipe(name="x", lr=1.0, patience=2)
    seen = rates(recipe, [50, 40, 41, 40, 39, 39, 39, 39, 39, 39, 39, 39])
    assert seen == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.001])


def test_fixed_epochs():
    recipe = Recipe(name="x", lr=1.0, schedule="epochs", drop_epochs=[2, 3])
    assert rates(recipe, [50, 50, 50, 50]) == pytest.approx([1, 1, 0.1, 0.01])


def test_schedule_resumes():
    recipe = Recipe(name="x", lr=1.0, patience=2)
    schedule = Schedule(recipe)
    for epoch, error in enumerate([50, 50, 50, 50], start=1):
        schedule.end_epoch(epoch, error)
    again = Schedule(recipe)
    again.load_state_dict(schedule.state_dict())
    assert again.lr == schedule.lr == pytest.approx(0.1)
    again.end_epoch(5, 50)
    assert again.lr == pytest.approx(0.01)
