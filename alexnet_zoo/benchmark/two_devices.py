"""Measures training in two processes, a column each, against one process and against the one-GPU net."""

import json
import tempfile
from pathlib import Path

import torch

from alexnet_zoo.benchmark.measure import Options, Watch, facts_of, rows_of
from alexnet_zoo.progress import Progress
from alexnet_zoo.train.columns import planned
from alexnet_zoo.train.launch import joined, launch
from alexnet_zoo.train.network import create_model
from alexnet_zoo.train.recipe import Recipe
from alexnet_zoo.train.step import make_step

SHARED = "two columns, two processes on one device"
PEERS = {  # who: network, processes, cores of each. A core stands for a GPU of the paper's.
    "two columns, two devices": ("alexnet_krizhevsky", 2, 1),
    "two columns, one process": ("alexnet_krizhevsky", 1, 2),
    "one-GPU net, one device": ("alexnet_krizhevsky_1gpu", 1, 1),
}
STEPS = 4  # a turn, of which the first warms up


def columns(options: Options = Options()) -> list[dict]:  # noqa: B008 (it is frozen)
    """Measures training images/s of each of PEERS, on CPUs by its number of threads; each turn starts new processes."""
    watch, batch_size = Watch(), options.batch_size or 64
    peers = peers_on(planned(2, 2, None, options.device).shared)
    seconds: dict[str, list[list[float]]] = {peer: [] for peer in peers}  # a turn each
    with Progress(options.repetitions * len(peers), "benchmark", unit="turns") as progress:
        for _ in range(options.repetitions):
            for peer, (model, processes, threads) in peers.items():
                recipe = Recipe(name=model, model=model, batch_size=batch_size, lr=1e-5)
                seconds[peer].append([one_turn(recipe, processes, threads, options.device)])
                progress.update(1, last=f"{peer} {seconds[peer][-1][0]:.3f} s")
    with torch.device("meta"):
        network = create_model(Recipe(name="columns"))
    facts = facts_of("columns", "alexnet_krizhevsky", network, batch_size, 224)
    return rows_of(facts, seconds, batch_size, options, watch)


def peers_on(shared: bool) -> dict[str, tuple[str, int, int]]:
    """Names the PEERS as they are measured here: where there is one card, both columns share it."""
    return {SHARED if shared and peer.endswith("two devices") else peer: how for peer, how in PEERS.items()}


def one_turn(recipe: Recipe, processes: int, threads: int, device: str) -> float:
    """Returns the median seconds of a step in the slowest process."""
    with tempfile.TemporaryDirectory() as folder:
        launch(processes, steps_of, recipe, threads, device, folder)
        times = [json.loads(path.read_text()) for path in Path(folder).glob("*.json")]
    return max(sorted(own)[len(own) // 2] for own in times)


def steps_of(recipe: Recipe, threads: int, device: str, folder: str) -> None:
    """Trains for STEPS steps in one of the processes, and writes how many seconds each but the first took."""
    with joined(recipe, None, device) as layout:
        torch.set_num_threads(threads)
        step = make_step(recipe, 1000, layout)
        generator = torch.Generator().manual_seed(0)  # both columns see the same images
        pixels = (torch.randn(recipe.batch_size, 3, 224, 224, generator=generator) * 60).to(layout.device)
        labels = torch.randint(1000, (recipe.batch_size,), generator=generator).to(layout.device)
        times = [step.seconds(pixels, labels) for _ in range(STEPS)][1:]
        (Path(folder) / f"{layout.column}.json").write_text(json.dumps(times))
