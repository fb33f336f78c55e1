import numpy as np
import pytest
import timm
import torch

from alexnet_zoo.train.optim import PaperSGD, Schedule, make_optimizer
from alexnet_zoo.train.recipe import Recipe, load_recipe


@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("lr", [0.1, 1e-7])
def test_a_step_rounds_to_float32_and_no_more(lr, momentum):
    weight, gradient, velocity = torch.randn(3, 1003, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    w = torch.nn.Parameter(weight.float())
    optimizer = PaperSGD([w], lr=lr, momentum=momentum, weight_decay=0.0005)
    v = optimizer.state[w]["velocity"].copy_(velocity * lr)
    w.grad = gradient.float()
    optimizer.step()
    expected = momentum * velocity * lr - 0.0005 * lr * weight - lr * gradient
    if momentum:  # else nothing is carried on
        torch.testing.assert_close(v.double(), expected, rtol=1e-5, atol=1e-6 * lr)
    torch.testing.assert_close(w.detach().double(), weight + expected, rtol=2e-7, atol=1e-7)


def test_follows_section_5_through_two_drops_of_the_rate():
    rng = np.random.default_rng(0)
    w, v = rng.normal(size=20), np.zeros(20)
    weight = torch.nn.Parameter(torch.tensor(w))
    optimizer = PaperSGD([weight], lr=0.01, momentum=0.9, weight_decay=0.0005)
    for step in range(90):
        eps = (1 + 0.01 / 10 ** (step // 30)) - 1  # rounded as rates are
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
    schedule, seen = Schedule(recipe, steps=10), []
    for epoch, error in enumerate(errors):
        seen.append(schedule.rates(epoch, ["fc6"])["fc6"])
        schedule.end_epoch(epoch + 1, error)
    return seen


def test_plateau_divides_the_rate_when_the_error_stops_falling_three_times_at_most():
    recipe = Recipe(name="x", lr=1.0, patience=2)
    seen = rates(recipe, [50, 40, 41, 40, 39, 39, 39, 39, 39, 39, 39, 39])
    assert seen == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.001])


def test_fixed_epochs():
    recipe = Recipe(name="x", lr=1.0, schedule="fixed", drop_epochs=[2, 3])
    assert rates(recipe, [50, 50, 50, 50]) == pytest.approx([1, 1, 0.1, 0.01])


def test_schedule_resumes():
    recipe = Recipe(name="x", lr=1.0, patience=2)
    schedule = Schedule(recipe, steps=10)
    for epoch, error in enumerate([50, 50, 50, 50], start=1):
        schedule.end_epoch(epoch, error)
    again = Schedule(recipe, steps=10)
    again.load_state_dict(schedule.state_dict())
    assert again.rates(4, ["fc6"]) == schedule.rates(4, ["fc6"]) == {"fc6": pytest.approx(0.1)}
    again.end_epoch(5, 50)
    assert again.rates(5, ["fc6"])["fc6"] == pytest.approx(0.01)


def test_net_145_as_run():
    """facts: drops after 25, 51 and 79; at 67 conv1 to 1e-5 and colour noise off; at 72 conv1 frozen; biases 0.02."""
    schedule = Schedule(load_recipe("as-run-145"), steps=10_009)
    layers = ["conv1", "conv2", "fc8"]

    def at(epochs):
        return list(schedule.rates(epochs, layers).values())

    assert at(0) == pytest.approx([0.01, 0.01, 0.01])
    assert at(24.9) == pytest.approx([0.01, 0.01, 0.01])
    assert at(25) == pytest.approx([1e-3, 1e-3, 1e-3])
    assert at(60) == pytest.approx([1e-4, 1e-4, 1e-4])
    assert at(67) == pytest.approx([1e-5, 1e-4, 1e-4])
    assert at(72) == pytest.approx([0, 1e-4, 1e-4])
    assert at(90) == pytest.approx([0, 1e-5, 1e-5])
    assert (schedule.colour(66.9), schedule.colour(67)) == ("as_run", "none")


CHAIN = {  # facts: rates of conv1, conv6, fc7, fc8 after so many epochs; 0.0 is a frozen layer
    "as-run-146-2009": {0: [1e-3, 1e-2, 1e-2, 1e-2], 2.2: [1e-3, 1e-3, 1e-3, 1e-3], 6.6: [1e-3, 1e-3, 1e-3, 1e-3]},
    "as-run-146-2011": {0: [1e-3, 1e-3, 1e-2, 1e-2], 5.9: [1e-3, 1e-3, 1e-2, 1e-2], 6: [1e-3, 1e-3, 1e-3, 1e-3]},
    "as-run-146-2012-2009": {
        **{0: [1e-4, 1e-3, 1e-3, 1e-3], 3: [1e-5, 1e-3, 1e-3, 1e-3], 4: [0, 1e-3, 1e-3, 1e-3]},
        **{22: [0, 1e-4, 1e-4, 1e-4], 42: [0, 1e-5, 1e-5, 1e-5]},
    },
    "as-run-145-continued": {0: [0, 1e-3, 1e-3, 1e-3], 16: [0, 1e-4, 1e-4, 1e-4], 33: [0, 1e-5, 1e-5, 1e-5]},
    "as-run-145-half": {47: [1e-3] * 4, 66: [1e-5, 1e-4, 1e-4, 1e-4], 95: [0, 1e-5, 1e-5, 1e-5]},
    "as-run-147": {78: [1e-4] * 4, 79: [0, 1e-5, 1e-5, 1e-5]},
    "as-run-148": {43: [1e-3] * 4, 69: [1e-5, 1e-4, 1e-4, 1e-4], 73: [0, 1e-4, 1e-4, 1e-4], 86: [0] + [1e-5] * 3},
    "as-run-150": {48: [1e-3] * 4, 66: [1e-5, 1e-4, 1e-4, 1e-4], 72: [0, 1e-4, 1e-4, 1e-4], 79: [0] + [1e-5] * 3},
}


@pytest.mark.parametrize("name, expected", CHAIN.items(), ids=CHAIN)
def test_rates_as_run(name, expected):
    schedule = Schedule(load_recipe(name), steps=10_009)
    for epochs, rates in expected.items():
        found = schedule.rates(epochs, ["conv1", "conv6", "fc6", "fc7", "fc8"])
        assert [found[layer] for layer in ("conv1", "conv6", "fc7", "fc8")] == pytest.approx(rates)


def test_when_colour_noise_ended_as_run():
    ends = {"145-2010": 68, "145-continued": 33, "145-half": 66, "146-2012-2009": 38, "148": 69, "150": 66}
    for name, end in ends.items():
        schedule = Schedule(load_recipe(f"as-run-{name}"), steps=10_009)
        assert (schedule.colour(end - 0.1), schedule.colour(end)) == ("as_run", "none"), name
    for name in ("146-2009", "146-2011", "147"):  # no note says that it ended
        assert Schedule(load_recipe(f"as-run-{name}"), steps=10_009).colour(99) == "as_run", name


def test_layers_can_have_a_decay_of_their_own():
    with torch.device("meta"):
        model = timm.create_model("cifar10_krizhevsky_13pct", img_size=24)
    decays = {}
    for group in make_optimizer(model, load_recipe("cifar10-no-lrn")).param_groups:
        decays[group["layer"], group["bias"]] = group["weight_decay"]
    assert decays == {
        **{("conv1", False): 0.0, ("conv2", False): 0.0, ("", False): 0.004},
        **{("conv1", True): 0.0, ("conv2", True): 0.0, ("", True): 0.0},
    }


def test_fine_tuning_of_146_as_run():
    schedule = Schedule(load_recipe("as-run-146-2012-2011"), steps=10_009)

    def at(epochs):
        return list(schedule.rates(epochs, ["conv1", "fc7", "fc8"]).values())

    assert at(0) == pytest.approx([1e-4, 1e-3, 1e-3])
    assert at(300 / 10_009) == pytest.approx([1e-4, 1e-3, 1e-2])
    assert at(5) == pytest.approx([1e-5, 1e-3, 1e-2])
    assert at(7) == pytest.approx([0, 1e-3, 1e-2])
    assert at(9) == pytest.approx([0, 1e-3, 1e-3])
    assert at(22) == pytest.approx([0, 1e-4, 1e-4])
    assert at(42) == pytest.approx([0, 1e-5, 1e-5])
    assert (schedule.colour(37), schedule.colour(38)) == ("as_run", "none")


def test_biases_have_their_own_rate_and_need_not_decay():
    model = torch.nn.Sequential()
    model.add_module("conv1", torch.nn.Conv2d(1, 2, 1))
    recipe = Recipe(name="x", lr=0.01, bias_lr=0.02, decay_biases=False)
    optimizer = make_optimizer(model, recipe)
    assert Schedule(recipe, steps=10).apply(optimizer, 0) == 0.01
    weight, bias = optimizer.param_groups
    assert (weight["lr"], weight["weight_decay"]) == (0.01, 0.0005)
    assert (bias["lr"], bias["weight_decay"]) == (0.02, 0.0)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("table2-one-cnn", {0: [0.01, 0.01, 0.01]}),  # as published: the same rate
        ("as-run-145", {0: [0.02, 0.02, 0.02], 71: [0.02, 0.02, 0.02], 80: [0, 0.02, 0.02]}),
        ("as-run-145-2010", {0: [0.02, 0.02, 0.02], 92: [0, 0.002, 0.002]}),
        ("as-run-145-half", {0: [0.02, 0.02, 0.02], 71: [0.002, 0.002, 0.02], 95: [0, 0.002, 0.02]}),
        ("as-run-147", {78: [0.02, 0.02, 0.02], 89: [0, 0.002, 0.002]}),
        ("as-run-148", {96: [0, 0.02, 0.02]}),
        ("as-run-150", {91: [0, 0.02, 0.02]}),
    ],
)
def test_rates_of_biases_do_not_fall_with_those_of_weights_as_run(name, expected):
    """facts: 0.02 to the end in most layers, 0.002 in 145-2010 and 147 and in conv1 and conv2 of 145-half."""
    schedule = Schedule(load_recipe(name), steps=10_009)
    for epochs, rates in expected.items():
        assert list(schedule.bias_rates(epochs, ["conv1", "conv2", "fc8"]).values()) == rates


def test_layers_of_one_rate_are_one_group():
    with torch.device("meta"):
        model = timm.create_model("alexnet_krizhevsky")
    for optimizer in ("paper", "sgd"):
        made = make_optimizer(model, Recipe(name="x", optimizer=optimizer))
        assert [len(group["params"]) for group in made.param_groups] == [8, 8]
    recipe = Recipe(name="x", lr_layers={"conv1": 0.1}, changes=[{"after_epochs": 1, "lr": 0.2, "layers": ["fc8"]}])
    made = make_optimizer(model, recipe)
    schedule = Schedule(recipe, steps=10)
    for epochs, expected in ((0, {"conv1": 0.1, "": 0.01, "fc8": 0.01}), (1, {"conv1": 0.1, "": 0.01, "fc8": 0.2})):
        schedule.apply(made, epochs)
        assert {group["layer"]: group["lr"] for group in made.param_groups} == expected
