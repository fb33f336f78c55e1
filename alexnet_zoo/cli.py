"""The command line: one command for each step, from photographs to tables. The only file that knows all rooms.

Every room is imported inside the command that needs it, so that --help and a slip of the pen wait for none: what stands
at the top of this file imports neither torch nor timm nor numpy.
"""

import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Optional

import typer
from typer.core import TyperGroup

from alexnet_zoo.errors import UserError, names_there_are
from alexnet_zoo.files import check_writable
from alexnet_zoo.progress import stage


class Commands(TyperGroup):
    """Lists the commands with what each does as a whole sentence, which typer cuts at the end of a line."""

    def format_commands(self, ctx, formatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in self.commands.items()])


app = typer.Typer(
    name="alexzoo",
    cls=Commands,
    help="AlexNet, the reference implementation: every number in the paper is a command.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Data = Annotated[
    Optional[Path], typer.Option("--data", help="Photographs (train/CLASS, val/CLASS), a prepared folder, or digits.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Sets = Annotated[
    Optional[list[str]], typer.Option("--set", help="FIELD=VALUE, changes a field of the recipe; repeatable.")
]


STOPPED = "\nalexzoo: stopped; the same command goes on, or begins again"


def main() -> None:
    """Runs a command; whatever goes wrong ends in one line and an exit code that is not 0."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        code = app(arguments, standalone_mode=False)
        if code == 130:  # typer's for a Ctrl-C that no command caught
            print(STOPPED, file=sys.stderr)
    except Exception as error:
        if debug:
            raise
        code = fail(error)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to stop; threads that end would only complain
    sys.exit(code)


def fail(error: Exception) -> int:
    """Says what went wrong in one line; returns the exit code."""
    if isinstance(error, UserError):
        message, code = str(error), error.exit_code
    elif was_interrupted(error):
        print(STOPPED, file=sys.stderr)
        return 130
    elif hasattr(error, "format_message"):  # a usage error of typer's, whichever click it carries
        context = getattr(error, "ctx", None)
        shown = f"; {context.command_path} --help shows how" if context else ""
        message, code = f"{error.format_message().rstrip('.')}{shown}", getattr(error, "exit_code", 1)
    elif isinstance(error, OSError) and error.filename:
        message, code = f"{error.filename}: {error.strerror}; mend that, or name another place", 1
    else:
        text = " ".join(str(error).split())
        message, code = f"{type(error).__name__}: {text} (unforeseen; --debug shows where)", 1
    print(f"alexzoo: error: {message}", file=sys.stderr)
    return code


def was_interrupted(error: BaseException | None) -> bool:
    """Tells whether a Ctrl-C lies behind an error: compiled modules make an ImportError of one while they load."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


@app.callback()
def debug_option(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """AlexNet, the reference implementation: every number in the paper is a command."""


@app.command(epilog="Example: alexzoo models alexnet_bvlc alexnet_owt")
def models(
    name: Annotated[Optional[str], typer.Argument(help="A network, for a table of its layers.")] = None,
    other: Annotated[Optional[str], typer.Argument(help="Another one, for what the two differ in.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images of the batch whose memory is counted.", min=1)] = 128,
) -> None:
    """The networks that `import alexnet_zoo` gives timm: parameters, multiply-adds, memory, what columns exchange."""
    import timm

    from alexnet_zoo.models import count, model_names, side_by_side

    if other is not None:
        return print(side_by_side.table_of_differences(name, other))
    if name is not None:
        return print(count.table_of_layers(name, batch_size))
    for each in model_names():
        print(f"{each:32} {timm.model_entrypoint(each).__doc__.strip().splitlines()[0]}")
    print()
    print(count.table_of_models(batch_size))


@app.command(name="import", epilog="Example: alexzoo import bvlc_alexnet.caffemodel")
def import_(
    file: Annotated[Path, typer.Argument(help="A .caffemodel, the ONNX Model Zoo's .onnx, a .pth, .safetensors.")],
    out: Annotated[Optional[Path], typer.Option(help="The file to write. [default: FILE with .safetensors]")] = None,
    model: Annotated[Optional[str], typer.Option(help="The network, where the file does not tell.")] = None,
) -> None:
    """Public weights to a .safetensors file under the paper's names, conv1 reading RGB. Nothing in FILE is executed."""
    from alexnet_zoo.models.convert import import_weights
    from alexnet_zoo.models.weights import PUBLISHED

    if out is not None:
        check_writable(out)
    path, name = import_weights(file, out, model)
    checked = "its hash is the published one" if file.name in PUBLISHED else "no hash is published for such a name"
    print(f"{path}: weights of {name}; {checked}")


@app.command(
    name="timm",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Example: alexzoo timm pytorch-image-models/validate.py DATA --model alexnet_bvlc --pretrained",
)
def timm_(
    context: typer.Context,
    script: Annotated[Path, typer.Argument(help="train.py, validate.py, benchmark.py, ... of timm's repository.")],
) -> None:
    """Runs a script of timm's with our networks registered; what follows SCRIPT is the script's."""
    import runpy

    import alexnet_zoo.models  # noqa: F401  (registers them)

    if not script.is_file():
        raise UserError(f"{script}: no such script; clone https://github.com/huggingface/pytorch-image-models", 2)
    sys.argv = [str(script), *context.args]
    sys.path.insert(0, str(script.resolve().parent))  # as python does
    try:
        runpy.run_path(str(script), run_name="__main__")
    except Exception as error:  # whatever the script makes of its arguments
        raise UserError(f"{script}: {type(error).__name__}: {error}; --debug before timm shows where") from error


@app.command(epilog="Example: alexzoo recipes table2-one-cnn-pretrained")
def recipes(
    name: Annotated[Optional[str], typer.Argument(help="A recipe, for its fields and the files that set them.")] = None,
) -> None:
    """The recipes and studies in reproduce/: what each reproduces, from which data, in how many hours."""
    from alexnet_zoo.listing import list_recipes
    from alexnet_zoo.train.recipe import explain_recipe

    print(list_recipes() if name is None else explain_recipe(name))


@app.command(epilog="Example: alexzoo prepare photographs/ prepared/ && alexzoo prepare --check prepared/")
def prepare(
    source: Annotated[
        Optional[str],
        typer.Argument(
            help="A folder of class folders, or of the archives of ILSVRC-2010 or 2012, ImageNet Fall 2009 or 2011, "
            "CIFAR-10, as distributed; a .tar; or hfds/NAME, wds/FOLDER."
        ),
    ] = None,
    out: Annotated[Optional[Path], typer.Argument(help="The folder to write.")] = None,
    encoding: Annotated[str, typer.Option(help="npy: pixels; jpeg: a tenth of the disk, decoded at each use.")] = "npy",
    split: Annotated[Optional[list[str]], typer.Option(help="Only this one of train, val, test; repeatable.")] = None,
    val_fraction: Annotated[float, typer.Option(help="What becomes val of one tree of classes: 0 none, 1 all.")] = 0.1,
    check: Annotated[
        Optional[Path], typer.Option("--check", help="Only verify this prepared folder, and say what it is.")
    ] = None,
    image_size: Annotated[int, typer.Option(help="Side of the prepared images, in pixels.")] = 256,
    skip_unreadable: Annotated[bool, typer.Option(help="Leave out any number of photographs, not just 1%.")] = False,
    update: Annotated[bool, typer.Option(help="Prepare anew what changed since among the photographs.")] = False,
    workers: Annotated[Optional[int], typer.Option(help="Processes; as many as there are cores if not said.")] = None,
) -> None:
    """Prepare photographs, once: the shorter side scaled to 256 pixels (bicubic), the centre cut out (section 2)."""
    from alexnet_zoo.data.prepared.dataset import describe, verify
    from alexnet_zoo.data.prepared.prepare import check_out
    from alexnet_zoo.data.prepared.prepare import prepare as prepare_photographs
    from alexnet_zoo.data.sources.recognise import open_source

    if check is not None:
        for line in describe(verify(check)):
            print(line)
        return
    if source is None or out is None:
        raise UserError("prepare: name a source of photographs and a folder to write, or --check FOLDER", exit_code=2)
    check_out(out, source)
    photographs = open_source(source, val_fraction, tuple(split) if split else None, cache=out)
    prepared = prepare_photographs(
        photographs, out, image_size, workers, encoding=encoding, skip_unreadable=skip_unreadable, update=update
    )
    print(f"{prepared.folder}: {describe_data(prepared)}")


@app.command(epilog="Example: alexzoo reproduce table2-one-cnn --data ILSVRC2012 --gpus 2 --set epochs=1")
def reproduce(
    recipe: Annotated[
        Optional[str], typer.Argument(help="A name from `alexzoo recipes`, or a TOML file. [default: digits]")
    ] = None,
    data: Data = None,
    gpus: Annotated[
        Optional[int],
        typer.Option(
            help="1: one process; 2: the two columns on two devices; 4: two pairs; ... [default: 1, or as before]"
        ),
    ] = None,
    out: Annotated[Optional[Path], typer.Option(help="The run's folder. [default: runs/RECIPE]")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out, or the recipe's last one.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do and cost here.")] = False,
    columns: Annotated[
        Optional[int], typer.Option(help="1: each process holds the whole network. [default: the network's columns]")
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Say where a step's time goes, for each column.")] = False,
    device: Device = "auto",
    set_: Sets = None,
) -> None:
    """Train a row of the paper's tables, export it to ONNX, evaluate that in onnxruntime, write the tables."""
    with nullcontext() if "torch" in sys.modules else stage("loading torch"):
        from alexnet_zoo import pipeline
        from alexnet_zoo.plan import make_plan, with_options
    plan = make_plan(recipe, data, gpus, out, resume, set_ or [], columns)
    plan = with_options(plan, profile=profile, device=device)
    if dry_run:
        from alexnet_zoo.dry_run import dry_run as describe

        print(describe(plan))
    else:
        pipeline.reproduce(plan)


@app.command(epilog="Example: alexzoo study claims --data IMAGENETTE --jobs 2")
def study(
    name: Annotated[
        Optional[str], typer.Argument(help="A plan in reproduce/studies, or a TOML file; none: lists them.")
    ] = None,
    data: Data = None,
    out: Annotated[Optional[Path], typer.Option(help="The study's folder. [default: runs/studies/NAME]")] = None,
    jobs: Annotated[
        int, typer.Option(help="Runs at a time, each on its share of the cores, or on its GPU.", min=1)
    ] = 1,
    list_: Annotated[bool, typer.Option("--list", help="Only print the commands that are left, one a line.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is left, for how long, and its power.")
    ] = False,
    report: Annotated[bool, typer.Option("--report", help="Only write what the finished runs say.")] = False,
    publish: Annotated[
        Optional[Path], typer.Option(help="Likewise, into this folder, with these runs, their weights left out.")
    ] = None,
) -> None:
    """Train a planned comparison, several seeds of each arm; stopped, the same command goes on."""
    from alexnet_zoo.study.command import run

    if report or publish:
        from alexnet_zoo.report.studies import report_study

        print(report_study(name, out, publish))
    else:
        run(name, data, out, jobs, list_, dry_run)


@app.command(epilog="Example: alexzoo export runs/digits --target int8")
def export(
    source: Annotated[
        Optional[str], typer.Argument(help="A run's folder, a .safetensors file in one, or a timm model's name.")
    ] = None,
    target: Annotated[str, typer.Option(help="A name from export/, or a TOML file; list shows them.")] = "plain",
    checkpoint: Annotated[Optional[Path], typer.Option(help="Weights for a model's name: a .safetensors file.")] = None,
    data: Data = None,
    out: Annotated[
        Optional[Path], typer.Option(help="The file to write. [default: RUN/model.onnx or model-TARGET.onnx]")
    ] = None,
) -> None:
    """Write a trained network as an ONNX file, checked and compared with torch."""
    from alexnet_zoo import pipeline, resolve
    from alexnet_zoo.onnx.target import describe_targets, load_target

    if "list" in (source, target):
        print(describe_targets())
        return
    if source is None:
        raise UserError("export: name a run's folder or a model, or --target list", exit_code=2)
    wanted = load_target(target)
    if out is not None:
        check_writable(out)
    path, what = pipeline.export(resolve.open_network(source, checkpoint, data), wanted, out)
    print(f"{path}: {what}")


@app.command(epilog="Example: alexzoo evaluate runs/digits --views 10")
def evaluate(
    sources: Annotated[
        list[str], typer.Argument(help="ONNX files, runs' folders or a model's name; several are averaged.")
    ],
    data: Data = None,
    split: Annotated[Optional[str], typer.Option(help="[default: the recipe's, or val]")] = None,
    views: Annotated[int, typer.Option(help="1: the centre crop; 10: corners, centre and their mirror images.")] = 10,
    device: Device = "auto",
    checkpoint: Annotated[Optional[Path], typer.Option(help="Weights for a model's name: a .safetensors file.")] = None,
    out: Annotated[Optional[Path], typer.Option(help="A results.csv to append to.")] = None,
    submission: Annotated[
        Optional[Path], typer.Option(help="Write predictions for ILSVRC-2012's test server instead: five ids a line.")
    ] = None,
    predictions: Annotated[Optional[Path], typer.Option(help="A .csv file to write, a row an image.")] = None,
    mean: Annotated[
        Optional[str], typer.Option(help="For files without metadata: R,G,B in the network's order, 0-255 or 0-1.")
    ] = None,
    std: Annotated[Optional[str], typer.Option(help="Likewise, what the channels are divided by.")] = None,
    size: Annotated[Optional[int], typer.Option(help="Likewise, the side of the crops. [default: the file's]")] = None,
    order: Annotated[Optional[str], typer.Option(help="Likewise, rgb or bgr.")] = None,
) -> None:
    """Top-1 and top-5 error of ONNX networks in onnxruntime."""
    from alexnet_zoo import pipeline
    from alexnet_zoo.onnx.preprocessing import Foreign
    from alexnet_zoo.results import check_can_append

    foreign = Foreign.from_options(mean, std, size, order)
    for file, check in ((out, check_can_append), (submission, check_writable), (predictions, check_writable)):
        if file is not None:
            check(file)
    files, dataset, devkit_ids = pipeline.open_evaluation(sources, checkpoint, data, split, size)
    if submission is not None:
        pipeline.submit(files, dataset, devkit_ids, submission, views, device=device, foreign=foreign)
        return print(f"{submission}: five devkit ids for each of {len(dataset):,} images")
    pipeline.evaluate(files, dataset, views, out, predictions, device=device, foreign=foreign)


@app.command(epilog="Example: alexzoo push runs/digits owner/alexnet-digits --dry-run")
def push(
    run: Annotated[Path, typer.Argument(help="The folder of a run that ended.")],
    repository: Annotated[str, typer.Argument(help="owner/name on the Hugging Face Hub.")],
    data: Data = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only write the folder that would be pushed.")] = False,
) -> None:
    """Put a run on the Hugging Face Hub, where timm finds it, with a card of its measured errors."""
    from alexnet_zoo.push import push as publish

    print(publish(run, repository, data, dry_run))


@app.command(epilog="Example: alexzoo report runs/digits --out report")
def report(
    sources: Annotated[Optional[list[Path]], typer.Argument(help="Runs' folders or results.csv files.")] = None,
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("report"),
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Figure 4 too, for which the networks are run.")
    ] = False,
    check: Annotated[Optional[Path], typer.Option(help="A published report, to hold against its own results.")] = None,
) -> None:
    """The paper's tables and figures with measured figures beside the published ones."""
    from alexnet_zoo import report as room

    if check is not None:
        print(f"{check}: {len(room.check(check))} tables are what its results give")
    else:
        check_writable(out / "report.md")
        for path in room.write_report(sources or [], out, predictions):
            print(path)


@app.command(epilog="Example: alexzoo compare runs/digits runs/digits-tanh --out comparison")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs; the others are held against the first.")],
    out: Annotated[Optional[Path], typer.Option(help="A folder for the tables, and the curves as PNG and SVG.")] = None,
) -> None:
    """What runs differ in: their recipes, their curves, their errors with the interval of the difference."""
    from alexnet_zoo.report.comparison import compare_runs

    if out is not None:
        check_writable(out / "comparison.md")
    print(compare_runs(runs, out))


@app.command(epilog="Example: alexzoo benchmark inference --batch-size 32")
def benchmark(
    what: Annotated[
        str,
        typer.Argument(
            help="evaluation, inference, training, modes, lrn, peaks, feeding, columns, prepare, gather, loader; all."
        ),
    ] = "training",
    batch_size: Annotated[Optional[int], typer.Option(help="Images a step. [default: 32; training and lrn 64]")] = None,
    repetitions: Annotated[int, typer.Option(help="Turns of each candidate at least, interleaved.")] = 5,
    seconds: Annotated[float, typer.Option(help="Of measuring each candidate, on average.", min=0)] = 3.0,
    model: Annotated[str, typer.Option(help="A timm model's name.")] = "alexnet_krizhevsky",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[Optional[int], typer.Option(help="[default: as many as there are cores]")] = None,
    against: Annotated[Optional[list[Path]], typer.Option(help="inference: an ONNX file to add; repeatable.")] = None,
    cpu_time: Annotated[
        bool, typer.Option("--cpu-time", help="With --threads 1: CPU time, for a machine that others use too.")
    ] = False,
    out: Annotated[Optional[Path], typer.Option(help="A folder for the figures as CSV and JSON.")] = None,
    data: Annotated[Optional[Path], typer.Option(help="Photographs to read; for --run, its data.")] = None,
    run: Annotated[Optional[Path], typer.Option(help="inference: a run's network, on its images.")] = None,
) -> None:
    """Speed, as ratios between candidates measured in one run."""
    import alexnet_zoo.models  # noqa: F401  (registers them)
    from alexnet_zoo.benchmark import BENCHMARKS, everything, measure, show

    if what not in (*BENCHMARKS, "all"):
        raise UserError(f"benchmark {what}: {names_there_are(what, [*BENCHMARKS, 'all'])}", exit_code=2)
    options: dict = dict(model=model, batch_size=batch_size, device=device, threads=threads, photographs=data, run=run)
    options |= dict(repetitions=repetitions, seconds=seconds, against=tuple(against or ()), cpu_time=cpu_time)
    if out is not None:
        check_writable(out / f"{what}.csv")
    if what == "all":
        return everything.measure_all(measure.Options(**options), out)
    rows = BENCHMARKS[what](measure.Options(**options))
    print(show.table(rows))
    for path in show.write(rows, out, what) if out else ():
        print(path)


def describe_data(prepared) -> str:
    """What a prepared folder holds, in a line."""
    splits = ", ".join(f"{name} {len(prepared.split(name)):,}" for name in prepared.splits)
    return f"{prepared.name}, {len(prepared.classes)} classes, {splits} images of {prepared.image_size} pixels"


if __name__ == "__main__":
    main()
