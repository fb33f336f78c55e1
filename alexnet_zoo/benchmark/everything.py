"""Measures everything of interest on one device in under ten minutes: `alexzoo benchmark all --device D --out DIR`."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_zoo.benchmark.measure import LEFT_OUT, Options, Watch
from alexnet_zoo.benchmark.show import SPEED, disturbed, grid, write
from alexnet_zoo.errors import UserError
from alexnet_zoo.progress import say

BATCHES = {  # of each benchmark: a part for each batch size
    "cpu": {
        "peaks": [1],
        "lrn": [16],
        "modes": [16],
        "feeding": [32],
        "inference": [1, 32],
        "evaluation": [64],
    },
    "cuda": {
        "peaks": [1],
        "lrn": [128],
        "modes": [128, 512, 2048],
        "feeding": [128],
        "inference": [1, 32, 256],
        "evaluation": [640],
    },
}
SECONDS = 590  # for all parts together
COLUMNS = {"batch": "{batch_size}"} | SPEED | {f"p{p} ms": f"{{p{p}:.2f}}" for p in (50, 90, 99)}


def measure_all(options: Options, out: Path | None, batches: dict[str, list[int]] | None = None) -> None:
    """Runs each part in a process of its own, which writes to its own folder in `out`; prints one table at the end.

    A part that fails does not stop the rest, not even where it leaves the device unusable to its process. all.json and
    all.csv hold all rows so far after each part.

    Raises UserError where no folder is named, and, at the end, where a part failed.
    """
    if out is None:
        raise UserError("benchmark all: name a folder for its figures with --out", exit_code=2)
    rows, failed, end, watch = [], [], time.monotonic() + SECONDS, Watch()
    with tempfile.TemporaryDirectory() as folder:
        photographs = options.photographs or noise(Path(folder))
        for name, sizes in (batches or BATCHES[options.device]).items():
            for batch_size in sizes:
                part = out / f"{name}-{batch_size}"
                say(f"benchmark {part.name}")
                if problem := run_part(name, batch_size, part, options, photographs, end - time.monotonic()):
                    failed.append(f"{part.name}: {problem}")
                    say(failed[-1])
                    continue
                found = json.loads((part / f"{name}.json").read_text())
                rows += [row | watch.judged(row["others"]) for row in found]  # a part's load is that of the one before
                write(rows, out, "all")
    if rows:
        networks = [row["model"].removeprefix("alexnet_") for row in rows]
        names = [f"{row['benchmark']:10} {network:10} {row['peer']}" for row, network in zip(rows, networks)]
        print(grid(rows, COLUMNS, names))
        print(disturbed(max(rows, key=lambda row: row["others"])))
    if failed:
        raise UserError(f"benchmark all: {len(failed)} parts failed; {'; '.join(failed)}")


def run_part(name: str, batch_size: int, out: Path, options: Options, photographs: Path, seconds: float) -> str | None:
    """Runs one benchmark as its own command; says what went wrong, in a line, or None."""
    words = [sys.executable, "-m", "alexnet_zoo", "benchmark", name, "--batch-size", batch_size, "--out", out]
    words += ["--device", options.device, "--model", options.model, "--data", photographs]
    words += ["--repetitions", options.repetitions, "--seconds", options.seconds]
    words += ["--threads", options.threads] if options.threads else []
    try:
        done = subprocess.run(list(map(str, words)), stderr=subprocess.PIPE, text=True, timeout=max(seconds, 1))
    except subprocess.TimeoutExpired:
        return f"the {SECONDS} s for all parts are over"
    if done.returncode:
        return (done.stderr.strip() or f"code {done.returncode}").splitlines()[-1]
    for line in done.stderr.splitlines():
        if LEFT_OUT in line:
            say(line)
    return None


def noise(folder: Path, count: int = 64) -> Path:
    """Makes a folder of photographs of random colours, for the benchmarks that read them; returns it."""
    random = np.random.default_rng(0)
    for number in range(count):
        pixels = random.integers(0, 256, (32, 40, 3), np.uint8)
        Image.fromarray(pixels).resize((320, 256)).save(folder / f"{number}.jpg")
    return folder
