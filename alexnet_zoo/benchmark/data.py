"""Measures how fast photographs become prepared images, and those batches; against Pillow alone and timm's loader."""

import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from alexnet_zoo.benchmark.measure import Options, Step, Watch, facts_of, rows_of, timings
from alexnet_zoo.cores import cores
from alexnet_zoo.data.batches.augment import draw_crops, to_input
from alexnet_zoo.data.batches.cutters import Cutters
from alexnet_zoo.data.batches.loader import Prefetch, generator
from alexnet_zoo.data.prepared import picture
from alexnet_zoo.data.prepared.dataset import Prepared
from alexnet_zoo.data.prepared.prepare import prepare
from alexnet_zoo.data.sources.source import is_photograph
from alexnet_zoo.errors import UserError

IMAGE, CROP = 256, 224


def preparing(options: Options, images: int = 2000, workers: int | None = None) -> list[dict]:
    """Measures images/s of `prepare`, checksums, mean and colour included, against decoding and resizing alone.

    "decode, resize" is picture.square, with all its tricks, in as many processes, which throw the result away.
    "Pillow" is the same in Pillow's plain words. Both run in processes started beforehand; ours start at every turn.
    """
    with many(options.photographs, images) as (folder, files):
        workers = workers or cores()
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:

            def alone(function):
                return lambda: list(pool.map(function, files, chunksize=max(1, images // workers // 16)))

            def ours():
                with tempfile.TemporaryDirectory(dir=folder.parent) as out:
                    prepare(folder, Path(out) / "out", IMAGE, workers)

            watch = Watch()
            steps = {"ours": ours, "decode, resize": alone(_square), "Pillow": alone(_plain_square)}
            seconds = timings(steps, options)
    return rows_of(facts_of("prepare", "prepare", None, images, IMAGE), seconds, images, options, watch)


def gathering(options: Options, count: int = 2048) -> list[dict]:
    """Measures uint8 crops/s gathered from prepared folders in memory, as pixels and as JPEGs.

    By a thread of this process (JPEGs: one a core), as on a CPU, and by processes, as on CUDA; both also while another
    thread launches operations, as training does.
    """
    batch_size = options.batch_size or 128
    with many(options.photographs, count // 4) as (folder, _), tempfile.TemporaryDirectory() as made:
        pixels, jpegs = (
            prepare(folder, Path(made) / encoding, IMAGE, encoding=encoding).split("train")
            for encoding in ("npy", "jpeg")
        )
        one, all_cores = (Cutters([pixels, jpegs], CROP, batch_size, workers, pinned=False) for workers in (1, cores()))
        rows = np.random.default_rng(0).integers(0, len(pixels), count)
        crops = draw_crops(generator(0), count, IMAGE, CROP, colour="none")

        def gather(dataset, cutters) -> None:
            parts = (slice(start, start + batch_size) for start in range(0, count, batch_size))
            for _ in Prefetch(dataset, CROP, ((rows[part], crops[part]) for part in parts), cutters):
                pass

        peers = {"one core": (pixels, None), "one process": (pixels, one), "processes": (pixels, all_cores)}
        peers |= {"from JPEG": (jpegs, None), "processes, from JPEG": (jpegs, all_cores)}
        steps: dict[str, Step] = {peer: partial(gather, *given) for peer, given in peers.items()}
        for peer in ("one core", "one process"):
            steps[f"{peer}, beside launches"] = partial(beside_launches, steps[peer])
        watch = Watch()
        seconds = timings(steps, options)
        one.close(), all_cores.close()
    return rows_of(facts_of("gather", "gather", None, batch_size, CROP), seconds, count, options, watch)


def beside_launches(step: Step) -> None:
    """Takes a step while another thread starts one small operation after another."""
    over, number = threading.Event(), torch.zeros(1)

    def launch() -> None:
        while not over.is_set():
            number.add_(1)

    thread = threading.Thread(target=launch)
    thread.start()
    try:
        step()
    finally:
        over.set()
        thread.join()


def loading(options: Options, images: int = 1024) -> list[dict]:
    """Measures images/s made into float batches: by us from a prepared folder, by timm's create_loader from files.

    "timm 256x256" reads the prepared squares as JPEG files, "timm" the photographs. Both cut the same crops as we do,
    and keep their workers alive.
    """
    batch_size = options.batch_size or 128
    with many(options.photographs, images) as (folder, files), tempfile.TemporaryDirectory() as made:
        steps: dict[str, Step] = {}
        for name, encoding in (("ours", "npy"), ("ours, JPEG", "jpeg")):
            prepared = prepare(folder, Path(made) / encoding, IMAGE, encoding=encoding)
            steps[name] = _our_epoch(prepared, batch_size, images // batch_size)
        squares = Path(made) / "squares"
        for number, file in enumerate(files):
            path = squares / str(number % 2) / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture.jpeg(_square(file), IMAGE))
        steps["timm 256x256"] = _timm_epoch(squares, batch_size, resize=False)
        steps["timm"] = _timm_epoch(folder / "train", batch_size, resize=True)
        watch = Watch()
        seconds = timings(steps, options)
        steps.clear()  # which ends timm's workers, so that their time counts as ours
    facts = facts_of("loader", "loader", None, batch_size, CROP)
    return rows_of(facts, seconds, images // batch_size * batch_size, options, watch)


@contextmanager
def many(photographs: Path | None, images: int):
    """Yields (folder, files): train/ holds links to `images` photographs, the same ones again if need be, val/ to two.

    Raises UserError where there are no photographs.
    """
    if photographs is None:
        raise UserError("this benchmark reads photographs: name a folder of them with --data", exit_code=2)
    paths = sorted(path for path in photographs.rglob("*") if is_photograph(path.name))
    if not paths:
        raise UserError(f"{photographs}: holds no photographs; name a folder of them")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "photographs"
        files = []
        for number in range(images):
            path = paths[number % len(paths)]
            for split in ("train", "val") if number < 2 else ("train",):
                link = folder / split / f"class{number % 2}" / f"{number}{path.suffix}"
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path.resolve())
            files.append(str(folder / "train" / f"class{number % 2}" / link.name))
        yield folder, files


def _square(file: str) -> bytes:
    return picture.square(Path(file).read_bytes(), IMAGE)


def _plain_square(file: str) -> bytes:
    """Does what picture.square does, without its tricks."""
    image = Image.open(file).convert("RGB")
    scale = IMAGE / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - IMAGE) // 2, (height - IMAGE) // 2
    return image.crop((left, top, left + IMAGE, top + IMAGE)).tobytes()


def _our_epoch(prepared: Prepared, batch_size: int, steps: int):
    dataset, mean = prepared.split("train"), torch.from_numpy(prepared.mean)
    components = prepared.eigenvalues, prepared.eigenvectors
    inputs = torch.empty(batch_size, 3, CROP, CROP)

    def epoch() -> None:
        order = np.random.default_rng(0).integers(0, len(dataset), (steps, batch_size))
        augmentation = batch_size, IMAGE, CROP, True, True, "published", components
        plan = ((rows, draw_crops(generator(0, step), *augmentation)) for step, rows in enumerate(order))
        for batch in Prefetch(dataset, CROP, plan):
            to_input(batch.pixels, batch.crops, mean, out=inputs)

    return epoch


def _timm_epoch(folder: Path, batch_size: int, resize: bool):
    from timm.data import create_dataset, create_loader
    from timm.data.transforms import ToNumpy
    from torchvision import transforms

    dataset = create_dataset("", str(folder))
    cpu = torch.device("cpu")
    loader = create_loader(dataset, (3, CROP, CROP), batch_size, True, num_workers=cores(), device=cpu)
    first = [transforms.Resize(IMAGE, transforms.InterpolationMode.BICUBIC)] if resize else []
    crops = [transforms.RandomCrop(CROP), transforms.RandomHorizontalFlip(), ToNumpy()]
    dataset.transform = transforms.Compose([*first, *crops])  # ours: create_loader's own also draws sizes and colours

    def epoch() -> None:
        for _ in loader:
            pass

    return epoch
