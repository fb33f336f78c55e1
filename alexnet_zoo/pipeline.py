"""From photographs to tables: what `alexzoo reproduce` does, stage by stage, and the stages after training alone."""

import json
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from alexnet_zoo.conclusion import conclusion, expected
from alexnet_zoo.data.batches.noise import Noise
from alexnet_zoo.data.prepared.dataset import Dataset, Prepared
from alexnet_zoo.errors import UserError
from alexnet_zoo.files import check_writable, sha256_of
from alexnet_zoo.onnx import evaluate as onnx_evaluate
from alexnet_zoo.onnx import export as onnx_export
from alexnet_zoo.onnx.pixels import with_test_procedure
from alexnet_zoo.onnx.predictions import check_can_submit, write_predictions, write_submission
from alexnet_zoo.onnx.quantize import cost_of
from alexnet_zoo.onnx.session import OnnxClassifier, check_device
from alexnet_zoo.onnx.target import Target
from alexnet_zoo.pedigree import pedigree_of, to_text
from alexnet_zoo.plan import Plan, with_starts
from alexnet_zoo.progress import say, stage
from alexnet_zoo.report import write_report
from alexnet_zoo.report.figures import to_bytes
from alexnet_zoo.report.graph import draw_graph
from alexnet_zoo.report.measured import in_words
from alexnet_zoo.resolve import (
    Network,
    check_checkpoint,
    find_data,
    image_size_of_model,
    open_data,
    open_network,
    run_around,
    split_to_test,
    trained_network,
)
from alexnet_zoo.results import append_results
from alexnet_zoo.train.launch import by_first, describe, in_processes, joined, under_torchrun
from alexnet_zoo.train.loop import Interrupted, train
from alexnet_zoo.train.recipe import load_recipe
from alexnet_zoo.train.run import Run, only_one, start_run


def reproduce(plan: Plan) -> list[dict]:
    """Photographs -> prepared images -> weights -> ONNX -> errors -> tables, in one run's folder.

    Returns the run's rows of results.csv: ten crops, centre crop, or what the recipe's views say.
    """
    check_writable(plan.folder / "results.csv")
    with advice_on_interruption(plan):
        return in_processes(plan.gpus, stages, with_starts(plan))


def stages(plan: Plan, prepared: Prepared | None = None) -> list[dict]:
    """Goes through the stages in each of the run's processes; an ensemble's members come before the ensemble."""
    with joined(plan.recipe, plan.columns, plan.device) as layout, ExitStack() as held:
        by_first(layout, held.enter_context, only_one(plan.folder))
        if layout.first:
            say(f"recipe {plan.recipe.name}: {describe(plan.recipe, layout)}; run folder {plan.folder}")
        by_first(layout, check_device, plan.device)
        prepared = prepared or by_first(layout, find_data, plan.recipe, plan.data, plan.folder)
        run = Run(plan.folder, plan.trained, prepared, layout)
        by_first(layout, start_run, run, plan.recipe, plan.columns)
        for member in plan.members:
            if not member.finished:
                stages(member, prepared)
        if not plan.members:
            train(run, plan.resume, plan.profile)
        files = [member.folder / "model.onnx" for member in plan.members]
        return by_first(layout, conclude, run, files, plan.device)


def conclude(run: Run, files: list[Path], device: str) -> list[dict]:
    """Exports a run's network, unless it averages the networks in `files`; measures its errors; writes the report."""
    recipe, folder = run.recipe, run.folder
    if not files:
        with stage("exporting to ONNX"):
            files = [export(trained_network(run))[0]]
    split = run.prepared.split(recipe.test_split)
    rows = []
    for views in recipe.views:
        row, probability = onnx_evaluate.errors_and_probabilities(files, split, views, device)
        rows.append(row | {"recipe": recipe.name})
        print(in_words(rows[-1]) + expected(recipe, row), flush=True)
        write_predictions(folder / f"predictions-{views}.csv", split, probability)  # for studies, image by image
    (folder / "results.csv").unlink(missing_ok=True)
    append_results(folder / "results.csv", rows)
    with stage("writing the report"):
        write_report([folder], folder / "report")
    print(conclusion(recipe, rows, folder), flush=True)
    return rows


@contextmanager
def advice_on_interruption(plan: Plan) -> Iterator[None]:
    """Adds to Interrupted the command that continues the run, in as many processes; makes it of a Ctrl-C elsewhere."""
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as error:
        words = ["alexzoo", "reproduce", "--resume", "--out", str(plan.folder)]
        words += ["--gpus", str(plan.gpus)] if plan.gpus > 1 else []
        words += ["--columns", str(plan.columns)] if plan.columns else []
        words += ["--device", plan.device] if plan.device != "auto" else []
        begun = (plan.folder / "recipe.toml").exists()
        again = shlex.join(words) if begun else "the same command"
        if under_torchrun():
            again = f"the same torchrun command{' and --resume' if begun and not plan.resume else ''}"
        stopped = str(error) or "stopped"
        raise Interrupted(f"{stopped}; continue with: {again}", getattr(error, "exit_code", 130)) from error


def export(network: Network, target: Target = onnx_export.PLAIN, out: Path | None = None) -> tuple[Path, str]:
    """Writes a network as an ONNX file; returns the file, and a line about it.

    The line says how far float32 is from torch, on images, or what lower precision costs, on the evaluation data.
    """
    inputs, model = network.inputs, network.model
    ending = "" if target.name == onnx_export.PLAIN.name else f"-{target.name}"
    path = out or network.folder / f"{network.stem}{ending}.onnx"
    check_writable(path)
    checksum = sha256_of(network.weights) if network.weights else ""
    metadata = onnx_export.describe(model, network.name, network.recipe, inputs, checksum)
    if network.weights and (pedigree := pedigree_of(network.weights)):
        metadata["pedigree"] = to_text([pedigree])
    size = (3, inputs.crop_size, inputs.crop_size)
    if target.precision == "float32":
        onnx_export.export(model, path, metadata, size, target)
        if target.columns == "apart":
            path.with_suffix(".svg").write_bytes(to_bytes(draw_graph(path), "svg"))
        difference = f"probabilities differ from torch's by at most {difference_from_torch(network, path):.1e}"
        untrained = not network.weights and not model.pretrained_cfg.get("url")
        return path, f"{difference}{'; its weights are fresh, untrained' if untrained else ''}"
    if isinstance(network.test, Noise):
        raise UserError(
            f"{target.name}: what {target.precision} costs is measured on images; name them with --data", exit_code=2
        )
    calibration = None
    if target.precision == "int8":
        calibration = onnx_evaluate.some_crops(network.train, inputs, target.calibration_images)
    onnx_export.export(model, path, metadata, size, target, calibration)
    return path, state_cost(network, path, metadata, size)


def difference_from_torch(network: Network, path: Path) -> float:
    """Finds the largest difference in any probability, on the first images of the evaluation data."""
    inputs, first = network.inputs, slice(0, min(16, len(network.test)))
    classifier = OnnxClassifier(path, "cpu")
    if classifier.layout != "pixels":
        return onnx_export.compare(network.model, path, inputs.crops(network.test, first, 1))
    _, pixels = next(onnx_evaluate.batches(classifier, inputs, network.test, 10, 10 * first.stop))
    procedure = with_test_procedure(network.model.cpu(), inputs)
    return onnx_export.compare(procedure, path, torch.from_numpy(pixels))


def state_cost(network: Network, path: Path, metadata: dict[str, str], size: tuple[int, int, int]) -> str:
    """Measures what a file of lower precision costs; notes it in the file and beside it, returns it as a line."""
    with tempfile.TemporaryDirectory() as folder:
        full = onnx_export.export(network.model, Path(folder) / "float32.onnx", metadata, size)
        scores = []
        for file in (path, full):
            members = onnx_evaluate.open_members([file], network.test, 1, "cpu")
            scores.append(onnx_evaluate.averaged(members, network.test, 1))
    cost = cost_of(scores[0], scores[1], network.test.labels)
    onnx_export.state(path, {"cost": json.dumps(cost.as_dict())})
    path.with_suffix(".cost.json").write_text(json.dumps(cost.as_dict(), indent=1) + "\n")
    return str(cost)


def open_evaluation(
    sources: list[str], checkpoint: Path | None, data: Path | None, split: str | None, size: int | None = None
) -> tuple[list[Path], Dataset, list[int] | None]:
    """Opens the networks to evaluate, the split to do it on, and the devkit's ids of its classes, if known.

    Args: sources, ONNX files, runs' folders or a model's name, of which the first run knows the data; size, the side
    of the crops of a file that does not say it.
    """
    for source in sources:
        if source.endswith((".onnx", ".safetensors")) and not Path(source).is_file():
            raise UserError(f"{source}: no such file; name an ONNX file, a run's folder or a model")
    run = next(filter(None, (run_around(Path(source)) for source in sources)), None)
    recipe = load_recipe(run / "recipe.toml") if run else None
    if data is None and recipe is None:
        raise UserError("no data to evaluate on: name photographs or a prepared folder with --data", exit_code=2)
    prepared = find_data(recipe, data, run) if recipe else open_data(data, image_size_of(sources[0], size))
    files = [as_onnx(source, checkpoint, data) for source in sources]
    return files, prepared.split(split or split_to_test(prepared, recipe)), prepared.devkit_ids


def image_size_of(source: str, size: int | None) -> int:
    """Tells the side of the images that a network is for; where a file does not say it, the paper's or its input's.

    Args: source, an ONNX file or a model's name; size, the side of its crops.
    """
    if not source.endswith(".onnx"):
        return image_size_of_model(source)
    classifier = OnnxClassifier(source, "cpu")
    return int(classifier.metadata.get("image_size", max(256, size or classifier.input_size or 0)))


def as_onnx(source: str, checkpoint: Path | None, data: Path | None) -> Path:
    """Finds the ONNX file that a source stands for; exports a run's or a model's where it is not there yet."""
    check_checkpoint(source, checkpoint)
    file = Path(source) if source.endswith(".onnx") else Path(source) / "model.onnx"
    return file if source.endswith(".onnx") or file.exists() else export(open_network(source, checkpoint, data))[0]


def evaluate(
    files: list[Path], dataset: Dataset, views: int, out: Path | None, predictions: Path | None, **options
) -> None:
    """Prints the errors of networks, then appends them to a results.csv and writes their predictions, where asked.

    open_members takes the options.
    """
    row, probability = onnx_evaluate.errors_and_probabilities(files, dataset, views, **options)
    print(in_words(row), flush=True)
    if out:
        append_results(out, [row])
    if predictions:
        write_predictions(predictions, dataset, probability)


def submit(
    files: list[Path], dataset: Dataset, devkit_ids: list[int] | None, submission: Path, views: int, **options
) -> None:
    """Writes what networks predict as ILSVRC's test server takes it; open_members takes the options."""
    check_can_submit(dataset, devkit_ids)
    members = onnx_evaluate.open_members(files, dataset, views, **options)
    write_submission(submission, dataset, devkit_ids, onnx_evaluate.averaged(members, dataset, views))
