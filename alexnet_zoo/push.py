"""Publishes a run on the Hugging Face Hub, where timm finds it: config.json, weights, mean image, card."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from huggingface_hub import HfApi, get_token

from alexnet_zoo.errors import UserError
from alexnet_zoo.onnx.evaluate import averaged, open_members, rank_of_label
from alexnet_zoo.report.measured import Result, RunRecord, read_sources
from alexnet_zoo.report.page import model_card
from alexnet_zoo.resolve import find_data
from alexnet_zoo.train.recipe import load_recipe

FILES = ("config.json", "model.safetensors", "mean.npy")


def push(run: Path, repository: str, data: Path | None, dry_run: bool) -> str:
    """Writes RUN/hub, the folder to be pushed, and pushes it as owner/name; returns a line about it.

    Raises UserError where the run has not ended or was not measured, or the Hub does not take it.
    """
    if repository.count("/") != 1:
        raise UserError(f"{repository}: name the repository as owner/name", exit_code=2)
    if not dry_run and get_token() is None:
        raise UserError(f"{repository}: no token for the Hub; `hf auth login`, or set HF_TOKEN; --dry-run needs none")
    folder = write_folder(run, repository, data)
    if dry_run:
        return f"{folder}: what would be pushed to {repository}; timm reads it as local-dir:{folder}"
    return f"{upload(folder, repository)}: pushed; timm reads it as hf-hub:{repository}"


def write_folder(run: Path, repository: str, data: Path | None) -> Path:
    """Writes RUN/hub: what FILES names, and the card, README.md."""
    if not run.is_dir():
        raise UserError(f"{run}: no such folder; name that of a run that ended")
    lacking = [name for name in (*FILES, "results.csv", "model.onnx") if not (run / name).is_file()]
    if lacking:
        ended = f"a run that ended has them: alexzoo reproduce --resume --out {run}"
        raise UserError(f"{run}: lacks {', '.join(lacking)}; {ended}")
    record = read_sources([run]).runs[0]
    (folder := run / "hub").mkdir(exist_ok=True)
    for name in FILES:
        shutil.copy(run / name, folder)
    card = model_card(record, repository, cost_of_channel_means(record, data))
    (folder / "README.md").write_text(card, encoding="utf-8")
    return folder


def cost_of_channel_means(record: RunRecord, data: Path | None) -> str:
    """Says what one mean for each channel, as timm's transforms have it, costs in place of one for each pixel.

    Measured on the images of the run's centre crops where they are here, else said without a number.
    """
    own = next((result for result in record.results if result.views == 1), None)
    images = data or Path(record.data.get("folder") or "")
    if own is None or not (data or (images / "prepared.json").is_file()):
        return "What that costs was not measured."
    top1, top5 = errors_with_channel_means(record, own, images)
    where = f"{own.verified or f'{own.dataset} {own.split}'}, {own.images:,} images, centre crop"
    errors = f"{top1:.2f}% top-1 and {top5:.2f}% top-5 error in place of {own.top1_err:.2f}% and {own.top5_err:.2f}%"
    return f"Measured on {where}: {errors}."


def errors_with_channel_means(record: RunRecord, own: Result, data: Path) -> tuple[float, float]:
    """Measures top-1 and top-5 error, in percent, of a run's centre crops less the mean of each channel."""
    dataset = find_data(load_recipe(record.folder / "recipe.toml"), data, record.folder).split(own.split)
    if dataset.data_sha256 != own.data_sha256:
        raise UserError(f"{data}: not the images that {record.folder} was measured on; name those with --data")
    ((classifier, inputs),) = open_members([record.folder / "model.onnx"], dataset, 1, "cpu")
    flat = np.broadcast_to(inputs.mean_image.mean(axis=(0, 1)), inputs.mean_image.shape)
    scores = averaged([(classifier, replace(inputs, mean_image=flat))], dataset, 1)
    ranks = rank_of_label(scores, dataset.labels)
    return 100 * float(np.mean(ranks > 0)), 100 * float(np.mean(ranks >= min(5, scores.shape[1])))


def upload(folder: Path, repository: str) -> str:
    """Makes the repository where there is none, and uploads the folder; returns its address."""
    try:
        address = HfApi().create_repo(repository, exist_ok=True)
        HfApi().upload_folder(repo_id=repository, folder_path=folder)
    except Exception as error:  # those of its client have no class in common
        reason = " ".join(str(error).split())[:200]
        why = f"{type(error).__name__}: {reason}"
        raise UserError(f"{repository}: the Hub did not take it ({why}); {folder} holds it") from error
    return str(address)
