import io
import json
from dataclasses import replace

import numpy as np
import pytest
import timm
from PIL import Image
from safetensors.numpy import save_file

from alexnet_zoo.errors import UserError
from alexnet_zoo.report.diagram import figure2
from alexnet_zoo.report.figures import challenge_chart, data_of, figure1, learning_curves, starts, to_bytes
from alexnet_zoo.report.kernels import figure3, load_kernels, selectivity
from alexnet_zoo.report.measured import Results, RunRecord, read_sources
from alexnet_zoo.report.networks import layers_of, networks_table
from alexnet_zoo.report.paper import load_paper


def run_with(tmp_path, **columns) -> RunRecord:
    length = len(next(iter(columns.values())))
    curve = [dict(epoch=n + 1, **{name: values[n] for name, values in columns.items()}) for n in range(length)]
    return RunRecord(tmp_path, "run", recipe={}, environment={}, data={}, processes=[], curve=curve, results=[])


def drawn_width(figure) -> tuple[int, float]:
    """Pixels across, and the share of them that is ink: a figure that came out empty has hardly any."""
    picture = np.asarray(Image.open(io.BytesIO(to_bytes(figure, "png"))).convert("L"))
    return picture.shape[1], float((picture < 128).mean())


def text_of(figure) -> str:
    return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)


def test_learning_curves_mark_the_drops(tmp_path):
    rates = [0.01] * 3 + [0.001] * 3 + [0.0001] * 2
    run = run_with(tmp_path, eval_top1=[10, 20, 30, 40, 41, 42, 50, 51], lr=rates)
    figure = learning_curves(run)
    assert text_of(figure).split() == ["rate", "0.001", "rate", "0.0001"]
    assert list(figure.axes[0].lines[0].get_ydata()) == [90, 80, 70, 60, 59, 58, 50, 49]  # errors, of percent correct
    width, ink = drawn_width(figure)
    assert width == 660 and ink > 0.005  # 3.3 inches


def test_every_series_of_a_legend_is_seen(tmp_path):
    """One validation after the last part of a cycle left no mark; a line of errors near 100% lay on the frame."""
    nan = float("nan")
    run = run_with(tmp_path, train_top1=[0.1, 0.2, 0.2], eval_top1=[nan, nan, 0.1])
    run = replace(run, recipe={"epochs": 2.2, "eval_split": "test"})
    figure = learning_curves(run)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["training", "test, top-1"]
    training, held_out = figure.axes[0].lines
    assert list(training.get_xdata()) == [1, 2, 2.2]  # the last cycle is a fifth of one
    assert list(held_out.get_xdata()) == [2.2] and held_out.get_marker() == "o"
    low, high = figure.axes[0].get_ylim()
    assert low < 0 and high > 101


def test_challenge_labels_keep_apart():
    figure = challenge_chart(load_paper())
    figure.canvas.draw()  # gives each text its place
    axes = figure.axes[0]
    frame = figure.bbox
    boxes = [text.get_window_extent() for text in [*axes.texts, *axes.get_xticklabels()]]
    assert all(frame.containsx(box.x0) and frame.containsx(box.x1) for box in boxes)
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])
    line = axes.transData.transform((2015, load_paper().human.top5))[1]
    assert not any(box.y0 < line < box.y1 for box in boxes[: len(axes.texts)])
    assert "7 CNNs*" in axes.get_xticklabels()[2].get_text()


def test_learning_curves_without_errors(tmp_path):
    assert learning_curves(run_with(tmp_path, train_loss=[1.0])) is None


def title_of(*runs) -> str:
    return figure1(runs, published=6.0).axes[0].get_title()


def test_figure1_says_the_ratio(tmp_path):
    relu = run_with(tmp_path, train_top1=[50, 80, 90])
    tanh = run_with(tmp_path, train_top1=[20, 30, 40, 50, 60, 75])
    assert "ReLU 2, tanh 6 epochs\n×3.0; published ×6" in title_of(("ReLU", relu), ("tanh", tanh))
    short = run_with(tmp_path, train_top1=[20, 30, 40, 50])
    assert "tanh over 4 epochs\nover ×2.0" in title_of(("ReLU", relu), ("tanh", short))
    assert figure1([("ReLU", relu), ("tanh", run_with(tmp_path, eval_top1=[1]))], 6.0) is None


def test_figure1_says_the_spread_over_seeds(tmp_path):
    relu = [run_with(tmp_path, train_top1=errors) for errors in ([80], [50, 80], [50, 80])]
    tanh = [run_with(tmp_path, train_top1=[50] * n + [75]) for n in (3, 5, 3)]
    runs = [("ReLU", run) for run in relu] + [("tanh", run) for run in tanh]
    assert title_of(*runs) == ("to 25%: ReLU 1 to 2, tanh 4 to 6 epochs\n×3.0, 2.0 to 4.0 in 3 runs; published ×6")
    figure = figure1(runs, 6.0)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["ReLU", "tanh"]


def watched(folder, rate: float, silent: float) -> RunRecord:
    """A run of 21 steps, watched in every tenth."""
    folder.mkdir()
    steps = [dict(step=n, loss=2.3 + n / 100) for n in (1, 11, 21)]
    shares = {"relu1": 0.01, "relu2": silent, "relu3": 0.5}
    gradients = {"conv1": 0.1, "conv2": 5, "fc8": 1}
    look = [dict(step=row["step"], column=0, gradient_norm=gradients, silent=shares) for row in steps]
    for name, rows in (("metrics", steps), ("layers", look)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 3')
    recipe = {"name": "init-published", "lr": rate}
    return replace(run_with(folder, train_top1=[10]), name=folder.name, recipe=recipe, data={"classes": ["cat", "dog"]})


def test_starts_shows_each_watched_run(tmp_path):
    runs = [watched(tmp_path / "fast", 0.01, 0.2), watched(tmp_path / "slow", 0.001, 0.3)]
    figure = starts(runs)
    loss, *panels = figure.axes
    assert loss.get_title() == "init-published"
    assert list(loss.lines[0].get_ydata()) == pytest.approx(np.array([2.31, 2.41, 2.51]) / np.log(2))
    assert [line.get_linestyle() for line in loss.lines[:2]] == ["-", "--"]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["rate 0.01, 2 classes", "rate 0.001, 2 classes"]
    shown = ["gradient of conv1", "gradient of fc8", "silent in relu2, %", "silent in relu3, %"]  # relu1 hardly is
    assert [axes.get_ylabel() for axes in panels] == shown
    assert list(panels[2].lines[1].get_ydata()) == [30, 30, 30]
    assert drawn_width(figure)[1] > 0.005
    rows = data_of(figure).splitlines()
    assert rows[0] == "panel,series,x,y" and "gradient of conv1,slow,11,0.1" in rows


def test_an_svg_file_has_dark_colours_too(tmp_path):
    figure = learning_curves(run_with(tmp_path, train_top1=[10, 20]))
    svg = to_bytes(figure, "svg").decode()
    assert "prefers-color-scheme:dark" in svg and '[style*="stroke: #000000"]{stroke:#e8e8e8!important}' in svg
    assert ">error, %</text>" in svg  # text, not outlines of letters
    assert data_of(figure).splitlines() == ["panel,series,x,y", '"error, %",training,1,90', '"error, %",training,2,80']


def test_challenge_chart_shows_only_verified_measurements(tmp_path, made):
    measured = made.VAL2012 | made.errors(41.0, 18.5)
    path = made.write_results(tmp_path / "results.csv", made.DIGITS, measured)
    figure = challenge_chart(load_paper(), read_sources([path]).results)
    assert any("18.5" in text.get_text() for text in figure.axes[0].get_legend().get_texts())
    made.write_results(path, made.DIGITS)
    figure = challenge_chart(load_paper(), read_sources([path]).results)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["a trained human: 5.1"]
    assert [bar.get_height() for bar in figure.axes[0].patches] == [28.2, 25.8, 15.3, 11.7, 6.7, 3.57]


def test_saved_figures_are_the_same_each_time():
    for kind in ("png", "svg"):
        assert to_bytes(challenge_chart(load_paper()), kind) == to_bytes(challenge_chart(load_paper()), kind)


def test_colour_index_of_known_kernels():
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.normal(size=(48, 1, 11, 11)), 3, axis=1)
    colour = rng.normal(size=(48, 3, 11, 11))
    colour -= colour.mean(axis=1, keepdims=True)
    found = selectivity(np.concatenate([grey, colour]))
    assert found.columns == pytest.approx([0, 1]) and found.verdict == "reproduced"

    chance = selectivity(rng.normal(size=(96, 3, 11, 11)))
    assert chance.columns == pytest.approx([2 / 3, 2 / 3], abs=0.02) and chance.verdict == "not resolved"
    mixed = grey + 0.5 * colour  # some colour here, none there: more than chance, and no column of colour alone
    assert selectivity(np.concatenate([grey, mixed])).verdict == "differ more than chance"
    one = selectivity(colour, columns=1)
    assert one.columns == pytest.approx([1]) and one.verdict == "not resolved"


def test_figure3_shows_every_kernel_of_each_column():
    figure = figure3(np.random.default_rng(0).normal(size=(96, 3, 11, 11)))
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert axes.images[0].get_array().shape == (3 * 12 - 1, 16 * 12 - 1, 3)  # 48 kernels, 16 in a row
    assert drawn_width(figure)[1] > 0.1


def test_kernels_of_damaged_or_foreign_weights(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"cut short")
    with pytest.raises(UserError, match="model.safetensors"):
        load_kernels(path)
    save_file({"fc8.bias": np.zeros(3, np.float32)}, path)
    with pytest.raises(UserError, match="no conv1.weight"):
        load_kernels(path)


def test_diagram_is_read_off_the_model():
    """Section 3.5, layer by layer, one column."""
    model = timm.create_model("alexnet_krizhevsky", device="meta")
    layers = {layer.name: layer for layer in layers_of(model)}
    assert {name: layer.shape for name, layer in layers.items()} == {
        "conv1": (48, 55, 55), "conv2": (128, 27, 27), "conv3": (192, 13, 13), "conv4": (192, 13, 13),
        "conv5": (128, 13, 13), "fc6": (2048,), "fc7": (2048,), "fc8": (1000,),
    }  # fmt: skip
    assert [name for name, layer in layers.items() if layer.reads_both] == ["conv3", "fc6", "fc7", "fc8"]
    assert layers["conv1"].follows == ["ReLU", "LRN", "max-pool 3/2"]
    assert layers["conv2"].what[:2] == ["256 kernels", "5×5×48"]
    assert layers["conv3"].what[:2] == ["384 kernels", "3×3×256"]
    assert sum(layer.parameters for layer in layers.values()) == 60_965_224
    figure = figure2(model, published={"conv1": 253_440.0, "conv2": 186_624})
    said = text_of(figure)
    assert "60,965,224 parameters, 659,272 neurons" in said and "290,400*" in said and "186,624*" not in said
    assert "The paper's figure prints 253,440; 55×55×96 is 290,400." in said
    assert drawn_width(figure)[1] > 0.02


def test_figure2_has_two_rows_and_dashes_the_crossings():
    axes = figure2(timm.create_model("alexnet_krizhevsky", device="meta")).axes[0]
    kernels = [patch for patch in axes.patches if patch.get_facecolor()[3] == 0]
    assert len(kernels) == 2 * 5  # a square of each convolutional layer in each row
    assert len(axes.patches) - len(kernels) == 3 * (1 + 2 * 7 + 1)  # three faces: the image, two rows, the classes
    dashed = [line for line in axes.lines if line.get_linestyle() != "-"]
    assert len(dashed) == 2 * (4 + 2 + 2)  # conv3's squares, fc6, fc7; fc8 is one for both
    one = figure2(timm.create_model("alexnet_krizhevsky_1gpu", device="meta")).axes[0]
    assert all(line.get_linestyle() == "-" for line in one.lines)


def test_networks_differ_in_words(tmp_path):
    def run(name: str, **args) -> RunRecord:
        recipe = {"model": name, "model_args": args}
        record = run_with(tmp_path, lr=[0.01])
        return replace(record, name=f"{name} {args}", recipe=recipe, data={"classes": ["class"] * 1000})

    runs = [
        run("alexnet_krizhevsky"), run("alexnet_krizhevsky", pool_size=2, lrn=False), run("alexnet_krizhevsky_1gpu"),
        run("alexnet_krizhevsky_6conv"), run("alexnet_krizhevsky", width_mult=0.5), run("alexnet_krizhevsky_net150"),
    ]  # fmt: skip
    same = replace(runs[0], name="the same again")
    results = Results([], [*runs, same, run("cifar10_krizhevsky_18pct")], [])
    rows = {row[-1]: row for row in networks_table(results).rows}
    said = [row[2] for row in rows.values()]
    assert list(rows)[0] == "alexnet_krizhevsky {}, the same again" and len(rows) == len(runs)
    assert said[0] is None and rows["alexnet_krizhevsky {}, the same again"][3].value == 60_965_224
    assert said[1] == "; ".join(f"after conv{number} ReLU, max-pool 2/2" for number in (1, 2, 5))
    assert said[2] == "one column; maps and units 48, 128, 192, 192, 256, 4,096, 4,096"
    assert said[3] == "one more: conv6" or said[3].startswith("one more: conv6;")
    assert said[4] == "maps and units 48, 128, 192, 192, 128, 2,048, 2,048"
    assert "reads its own column" in said[5] or "reads both columns" in said[5]


def test_diagram_of_one_column_and_of_an_ablation():
    one = layers_of(timm.create_model("alexnet_krizhevsky_1gpu", device="meta"))
    assert one[4].shape == (256, 13, 13) and not any(layer.reads_both for layer in one)
    tanh = layers_of(timm.create_model("alexnet_krizhevsky", device="meta", act_layer="tanh", lrn=False))
    assert tanh[0].follows[0].lower() == "tanh" and "LRN" not in tanh[0].follows
