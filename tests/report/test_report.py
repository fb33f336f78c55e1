import json

import pytest
import timm
from safetensors.torch import save_file

from alexnet_zoo.errors import UserError
from alexnet_zoo.report import check, write_report


def test_writes_tables_page_figures_and_card(tmp_path, made, capsys):
    curve = [dict(epoch=1, eval_top1=50.0, eval_top5=90.0, lr=0.01)]
    run = made.write_run(tmp_path / "a", made.DIGITS, made.DIGITS | dict(views=1, top1_err=120.0), curve=curve)
    written = write_report([run], tmp_path / "out")
    names = {str(path.relative_to(tmp_path / "out")) for path in written}
    assert {f"{table}.{kind}" for table in ("table1", "table2", "claims", "runs") for kind in ("csv", "tex")} <= names
    assert {"report.md", "report.html", "cards/a.md", "figures/challenge.png", "figures/curves-a.svg"} <= names
    assert all(path.stat().st_size for path in written)
    page = written[0].read_text()
    assert "| a | 5.00 [" in page
    assert "| 1 CNN | 40.7 | – | 18.2 | – |" in page and "![Learning curves of a](figures/curves-a.png)" in page
    assert "top1_err is 120.0" in page and "top1_err is 120.0" in capsys.readouterr().err


def test_without_any_run(tmp_path):
    names = [path.name for path in write_report([], tmp_path)]
    assert "report.md" in names and "figure2.png" in names


def test_a_network_of_figure_1_has_no_figures_2_and_3(tmp_path, made):
    """Its report showed an image of 224 pixels to a network for 32 and ended there."""
    run = made.write_run(tmp_path / "a", made.DIGITS | dict(model="cifar10_krizhevsky_18pct"), recipe="figure1-relu")
    with (run / "recipe.toml").open("a") as file:
        file.write('model = "cifar10_krizhevsky_18pct"\n')
    save_file(timm.create_model("cifar10_krizhevsky_18pct").state_dict(), run / "model.safetensors")
    names = {path.name for path in write_report([run], tmp_path / "out")}
    assert "report.md" in names and not any(name.startswith(("figure2", "figure3")) for name in names)


def test_damaged_weights_are_named_and_the_report_is_made(tmp_path, made, capsys):
    run = made.write_run(tmp_path / "a", made.DIGITS | dict(param_count=60.97), recipe="table2-one-cnn")
    (run / "data.json").write_text(json.dumps({"classes": ["class"] * 1000}))
    (run / "model.safetensors").write_bytes(b"cut")
    write_report([run], tmp_path / "out")
    assert "model.safetensors" in capsys.readouterr().err


def test_check_compares_what_is_committed(tmp_path, made):
    published = tmp_path / "published"
    made.write_run(published / "digits", made.DIGITS)
    write_report([published], published)
    assert published / "table2.csv" in check(published)

    for name, before, after in [
        ("runs.csv", "5.00", "4.00"), ("claims.tex", "ReLU", "Tanh"), ("report.md", "5.00 [", "4.99 ["),
    ]:  # fmt: skip
        right = (published / name).read_text()
        (published / name).write_text(right.replace(before, after))
        with pytest.raises(UserError, match=f"{name} differs"):
            check(published)
        (published / name).write_text(right)

    (published / "table1.tex").unlink()
    with pytest.raises(UserError, match="table1.tex is missing"):
        check(published)
    write_report([published], published)
    made.write_results(published / "digits" / "results.csv", made.DIGITS | made.errors(7.0, 0.5))
    with pytest.raises(UserError, match="runs.csv differs"):
        check(published)
