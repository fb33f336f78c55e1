"""From photographs to tables: what `alexzoo reproduce` does, stage by stage, and each stage on its own."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import tomli_w
import torch

import alexnet_zoo  # noqa: F401  (gives timm the networks)
from alexnet_zoo.benchmark import BENCHMARKS
from alexnet_zoo.benchmark import measure as speed
from alexnet_zoo.data.batches.noise import Noise
from alexnet_zoo.data.prepared.dataset import Dataset, Prepared
from alexnet_zoo.errors import UserError
from alexnet_zoo.files import sha256_of
from alexnet_zoo.given import Network, find_data, open_data, open_network
from alexnet_zoo.onnx import evaluate as onnx_evaluate
from alexnet_zoo.onnx import export as onnx_export
from alexnet_zoo.onnx.pixels import with_test_procedure
from alexnet_zoo.onnx.predictions import check_can_submit, write_submission
from alexnet_zoo.onnx.preprocessing import Foreign, parse_channels
from alexnet_zoo.onnx.quantize import cost_of
from alexnet_zoo.onnx.session import OnnxClassifier
from alexnet_zoo.onnx.target import load_target
from alexnet_zoo.progress import say
from alexnet_zoo.report import write_report
from alexnet_zoo.results import append_results
from alexnet_zoo.train import launch
from alexnet_zoo.train.estimate import estimate
from alexnet_zoo.train.loop import Interrupted
from alexnet_zoo.train.recipe import Recipe, load_recipe
from alexnet_zoo.train.run import Run, new_run_folder, newest_run_folder, only_one, start_run

RUNS = Path("runs")


def reproduce(
    name: str | None,
    data: Path | None,
    gpus: int,
    out: Path | None,
    resume: bool,
    overrides: list[str],
    columns: int | None = None,
    profile: bool = False,
) -> list[dict]:
    """Photographs -> prepared images -> weights -> ONNX -> errors -> tables, in one run's folder.

    Returns the run's rows of results.csv: ten crops, centre crop, or what the recipe's views say.
    """
    recipe, run = choose_run(name, out, resume, overrides)
    say(f"recipe {recipe.name}: {launch.describe(recipe, gpus, columns)}; run folder {run}")
    with only_one(run):
        prepared = find_data(recipe, data, run)
        start_run(run, recipe, prepared, gpus)
        if recipe.members:
            files = train_members(recipe, prepared, run, gpus, overrides)
        else:
            with told_how_to_go_on(run):
                launch.run_training(with_start(recipe), prepared.folder, run, gpus, resume, columns, profile)
            files = [export(str(run), None, None, None)[0]]
        return measure(recipe, prepared, run, files)


def reproduce_under_torchrun(
    name: str | None,
    data: Path | None,
    out: Path | None,
    resume: bool,
    overrides: list[str],
    columns: int | None = None,
    profile: bool = False,
) -> None:
    """The same in one of the processes that torchrun started, on one machine or on several that share their folders."""
    if out is None:
        raise UserError("under torchrun all processes need the same folder: name it with --out", exit_code=2)
    recipe, run = choose_run(name, out, resume, overrides)
    with launch.joined(recipe, columns) as layout, only_one(run) if layout.first else nullcontext():
        if layout.first:
            say(f"recipe {recipe.name}: {launch.describe(recipe, layout.processes, columns)}; run folder {run}")
            start_run(run, recipe, find_data(recipe, data, run), layout.processes)
        layout.wait_for_all()
        prepared = find_data(recipe, data, run)
        with told_how_to_go_on(run):
            launch.train(Run(run, with_start(recipe), prepared, layout), resume, profile)
        if layout.first:
            measure(recipe, prepared, run, [export(str(run), None, None, None)[0]])


@contextmanager
def told_how_to_go_on(run: Path) -> Iterator[None]:
    try:
        yield
    except Interrupted as error:
        again = f"continue with: alexzoo reproduce --resume --out {run}"
        raise Interrupted(f"{error}; {again}", error.exit_code) from error


def measure(recipe: Recipe, prepared: Prepared, run: Path, files: list[Path]) -> list[dict]:
    """The errors of a run's networks, averaged where there are several: into results.csv, the report, on the screen."""
    split = prepared.split(recipe.test_split)
    rows = [onnx_evaluate.evaluate(files, split, views) | {"recipe": recipe.name} for views in recipe.views]
    (run / "results.csv").unlink(missing_ok=True)
    append_results(run / "results.csv", rows)
    write_report([run], run / "report")
    for row in rows:
        print(describe_row(row))
    print(f"networks {', '.join(map(str, files))}; figures {run}/results.csv; tables {run}/report/report.md")
    return rows


def train_members(recipe: Recipe, prepared: Prepared, run: Path, gpus: int, overrides: list[str]) -> list[Path]:
    """Trains the members of an ensemble, each a run of its own in run/member-N; takes those that are finished."""
    files = []
    for number, member in enumerate(recipe.members, start=1):
        folder = run / f"member-{number}"
        if not (folder / "results.csv").exists():
            begun = (folder / "recipe.toml").exists()
            own = [] if begun else [*overrides, f"seed={member.seed}"]
            reproduce(member.recipe, prepared.folder, gpus, folder, begun, own)
        files.append(folder / "model.onnx")
    return files


def with_start(recipe: Recipe) -> Recipe:
    """The recipe with the file of weights that it starts from in place of the run or the recipe that wrote it."""
    if not recipe.start_from or recipe.start_from.endswith(".safetensors"):
        return recipe
    run = Path(recipe.start_from)
    if not run.is_dir():
        try:
            run = newest_run_folder(RUNS, recipe.start_from)
        except UserError as error:
            first = f"run first: alexzoo reproduce {recipe.start_from}, or --set start_from=RUN"
            raise UserError(
                f"recipe {recipe.name} starts from {recipe.start_from}, of which there is no run; {first}"
            ) from error
    return recipe.model_copy(update={"start_from": str(run / "model.safetensors")})


def dry_run(name: str | None, data: Path | None, gpus: int, overrides: list[str]) -> str:
    """What `reproduce` would do: the resolved recipe, its steps, and what it costs on this machine."""
    recipe = load_recipe(name or "digits", overrides)
    prepared = find_data(recipe, data, Path())
    images = len(prepared.split(recipe.train_split))
    replicas, columns = launch.divide(gpus, launch.columns_of(recipe))
    cost = None if recipe.members else estimate(recipe, images, len(prepared.classes), replicas, columns)
    lines = [tomli_w.dumps(recipe.model_dump(exclude_none=True)), f"# {launch.describe(recipe, gpus)}"]
    lines.append(
        f"# {images:,} training images from {prepared.folder}, {folder_bytes(prepared.folder) / 1e9:.2f} GB on disk"
    )
    if cost is None:
        return "\n".join([*lines, f"# {len(recipe.members)} members; --dry-run of one of their recipes says its cost"])
    lines.append(
        f"# {cost['steps']:,} steps of {cost['step_seconds']:.2f} s in one process here: {cost['hours']:.1f} hours"
    )
    memory, checkpoint = cost["memory_bytes"] / 2**30, cost["checkpoint_bytes"] / 2**30
    lines.append(f"# {memory:.2f} GiB of memory a device; {checkpoint:.2f} GiB on disk for a checkpoint")
    return "\n".join(lines)


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def choose_run(name: str | None, out: Path | None, resume: bool, overrides: list[str]) -> tuple[Recipe, Path]:
    """The recipe and the run's folder: a new one, or with resume the one to continue, by its own recipe."""
    if not resume:
        recipe = load_recipe(name or "digits", overrides)
        run = out or new_run_folder(RUNS, recipe.name)
        if (run / "recipe.toml").exists():
            raise UserError(f"{run}: holds a run already; continue it with --resume, or name another --out")
        return recipe, run
    run = out or newest_run_folder(RUNS, load_recipe(name or "digits").name)
    if not (run / "recipe.toml").exists():
        raise UserError(f"{run}: no run to resume here; start one without --resume")
    return load_recipe(run / "recipe.toml", overrides), run


def export(
    source: str, checkpoint: Path | None, data: Path | None, out: Path | None, target: str = "fast"
) -> tuple[Path, str]:
    """A run's network, one of its checkpoints, or a timm model with weights, as an ONNX file; and a line about it.

    The line says how far float32 is from torch, on images, or what lower precision costs, on the evaluation data.
    """
    wanted = load_target(target)
    network = open_network(source, checkpoint, data)
    inputs, model = network.inputs, network.model
    path = out or network.folder / f"{network.stem}{'' if target == 'fast' else '-' + wanted.name}.onnx"
    checksum = sha256_of(network.weights) if network.weights else ""
    metadata = onnx_export.describe(model, network.name, network.recipe, inputs, checksum)
    size = (3, inputs.crop_size, inputs.crop_size)
    if wanted.precision == "float32":
        onnx_export.export(model, path, metadata, size, wanted)
        difference = f"probabilities differ from torch's by at most {difference_from_torch(network, path):.1e}"
        untrained = not network.weights and not model.pretrained_cfg.get("url")
        return path, f"{difference}{'; its weights are fresh, untrained' if untrained else ''}"
    if isinstance(network.test, Noise):
        raise UserError(f"{target}: what {wanted.precision} costs is measured on images; name them with --data", 2)
    calibration = None
    if wanted.precision == "int8":
        calibration = onnx_evaluate.some_crops(network.train, inputs, wanted.calibration_images)
    onnx_export.export(model, path, metadata, size, wanted, calibration)
    return path, state_cost(network, path, metadata, size)


def difference_from_torch(network: Network, path: Path) -> float:
    """The largest difference in any probability, on the first images of the evaluation data."""
    inputs, first = network.inputs, slice(0, min(16, len(network.test)))
    classifier = OnnxClassifier(path, "cpu")
    if classifier.layout != "pixels":
        return onnx_export.compare(network.model, path, inputs.crops(network.test, first, 1))
    _, pixels = next(onnx_evaluate.batches(classifier, inputs, network.test, 10, 10 * first.stop))
    procedure = with_test_procedure(network.model.cpu(), inputs)
    return onnx_export.compare(procedure, path, torch.from_numpy(pixels))


def state_cost(network: Network, path: Path, metadata: dict[str, str], size: tuple[int, int, int]) -> str:
    """Measures what a file of lower precision costs; into its metadata, a JSON file beside it, and a line."""
    with tempfile.TemporaryDirectory() as folder:
        full = onnx_export.export(network.model, Path(folder) / "float32.onnx", metadata, size)
        scores = []
        for file in (path, full):
            members = onnx_evaluate.open_members([file], network.test, 1, "cpu")
            scores.append(onnx_evaluate.averaged(members, network.test, 1))
    cost = cost_of(*scores, network.test.labels)
    onnx_export.state(path, {"cost": json.dumps(cost.as_dict())})
    path.with_suffix(".cost.json").write_text(json.dumps(cost.as_dict(), indent=1) + "\n")
    return str(cost)


def evaluate(
    sources: list[str],
    checkpoint: Path | None,
    data: Path | None,
    split: str | None,
    views: int,
    device: str,
    out: Path | None,
    foreign: Foreign | None = None,
    predictions: Path | None = None,
) -> dict:
    """One row of results.csv: of ONNX files, runs' folders or a model with a checkpoint; several are averaged."""
    files, dataset, _ = open_evaluation(sources, checkpoint, data, split)
    row = onnx_evaluate.evaluate(files, dataset, views, device, foreign=foreign, predictions=predictions)
    if out is not None:
        append_results(out, [row])
    return row


def submit(
    sources: list[str],
    checkpoint: Path | None,
    data: Path | None,
    split: str | None,
    views: int,
    device: str,
    submission: Path,
    foreign: Foreign | None = None,
) -> int:
    """Writes what the networks of `evaluate` predict as ILSVRC's test server takes it; returns the number of images."""
    files, dataset, devkit_ids = open_evaluation(sources, checkpoint, data, split)
    check_can_submit(dataset, devkit_ids)
    members = onnx_evaluate.open_members(files, dataset, views, device, foreign)
    scores = onnx_evaluate.averaged(members, dataset, views)
    write_submission(submission, dataset, devkit_ids, scores)
    return len(dataset)


def open_evaluation(
    sources: list[str], checkpoint: Path | None, data: Path | None, split: str | None
) -> tuple[list[Path], Dataset, list[int] | None]:
    """The networks to evaluate, the split to do it on, and the devkit's ids of its classes, if known."""
    runs = [Path(source) for source in sources if (Path(source) / "recipe.toml").exists()]
    recipe = load_recipe(runs[0] / "recipe.toml") if runs else None
    if data is None and recipe is None:
        raise UserError("no data to evaluate on: name a prepared folder with --data", exit_code=2)
    prepared = open_data(data) if data else find_data(recipe, None, runs[0])
    files = [as_onnx(source, checkpoint, data) for source in sources]
    return files, prepared.split(split or (recipe.test_split if recipe else "val")), prepared.devkit_ids


def as_onnx(source: str, checkpoint: Path | None, data: Path | None) -> Path:
    """The ONNX file that a source stands for; a run's or a model's is exported where it is not there yet."""
    if source.endswith(".onnx"):
        return Path(source)
    file = Path(source) / "model.onnx"
    return file if file.exists() else export(source, checkpoint, data, None)[0]


def describe_row(row: dict) -> str:
    """A row of results.csv in a line."""
    from alexnet_zoo.report.intervals import wilson

    def with_interval(err: str) -> str:
        low, high = wilson(float(err), int(row["images"]))
        return f"{float(err):.2f}% ({low:.2f} to {high:.2f})"

    views = "ten crops" if row["views"] == 10 else "centre crop"
    return (
        f"{row['model']}, {row['dataset']} {row['split']}, {row['images']} images, {views}: "
        f"top-1 error {with_interval(row['top1_err'])}, top-5 error {with_interval(row['top5_err'])}, {row['provider']}"
    )


def foreign(mean: str | None, std: str | None, size: int | None, order: str | None) -> Foreign | None:
    """What the options say of files without metadata; None where they say nothing."""
    said = {"size": size, "order": order}
    said["mean"] = parse_channels("--mean", mean) if mean else None
    said["std"] = parse_channels("--std", std) if std else None
    said = {field: value for field, value in said.items() if value is not None}
    return Foreign(**said) if said else None


def benchmark(what: str, out: Path | None, **options) -> None:
    """Prints the table of a benchmark, and writes its rows to a folder; options are those of measure.Options."""
    if what not in BENCHMARKS:
        raise UserError(f"benchmark {what}: there are {', '.join(BENCHMARKS)}", exit_code=2)
    rows = BENCHMARKS[what](speed.Options(**options))
    print(speed.table(rows))
    if out is not None:
        for path in speed.write(rows, out, what):
            print(path)
