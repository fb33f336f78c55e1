"""How pixels become a network's input: what an ONNX file says of it, and what a user says of a foreign one."""

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alexnet_zoo.data.batches.augment import Crops, centre_crop, ten_crop_offsets, to_input
from alexnet_zoo.data.prepared.dataset import Images
from alexnet_zoo.errors import UserError


@dataclass
class Preprocessing:
    """What a network expects: its classes, in the order of its outputs, and how pixels become its input.

    Of an image of image_size x image_size RGB pixels, 0 to 255, it reads crops of crop_size, from which the mean image
    (image_size, image_size, 3) is subtracted at the crop's place, or with mean_place "centre" its centre crop wherever
    the crop lies, mirrored or not; divided by scale, of all or of each channel. Channels are those of the mean image:
    "rgb", or "bgr" as Caffe has them.
    """

    classes: list[str]
    image_size: int
    crop_size: int
    mean_image: np.ndarray
    scale: float | tuple[float, ...] = 1.0
    order: str = "rgb"
    mean_place: str = "crop"

    def mean_tensor(self) -> torch.Tensor:
        """The mean image as to_input takes it."""
        return torch.from_numpy(np.array(self.mean_image, np.float32))

    def scale_tensor(self) -> torch.Tensor:
        """(3,), what each channel is divided by."""
        return torch.tensor(self.scale, dtype=torch.float32).expand(3)

    def crops(self, dataset: Images, rows: slice, views: int) -> torch.Tensor:
        """The network's input (images * views, 3, crop_size, crop_size) of some images: their centre crops or ten."""
        mean, scale = self.mean_tensor(), self.scale_tensor().reshape(3, 1, 1)
        if self.order == "rgb":
            return crops_of(dataset, rows, views, self.crop_size, mean, scale, self.mean_place)
        crops = crops_of(dataset, rows, views, self.crop_size, torch.zeros_like(mean))
        return (crops.flip(1) - mean[0, 0].reshape(3, 1, 1)) / scale

    def to_metadata(self) -> dict[str, str]:
        """As strings, for the metadata of an ONNX file."""
        array = io.BytesIO()
        np.save(array, self.mean_image.astype(np.float32), allow_pickle=False)
        return {
            "classes": json.dumps(self.classes),
            "image_size": str(self.image_size),
            "crop_size": str(self.crop_size),
            "scale": json.dumps(self.scale),
            "mean": json.dumps(self.mean_image.mean(axis=(0, 1), dtype=np.float64).round(4).tolist()),
            "mean_place": self.mean_place,
            "mean_image": base64.b64encode(array.getvalue()).decode(),
        }

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], file: Path) -> "Preprocessing":
        """What to_metadata wrote into `file`; UserError where something is missing or wrong."""
        wanted = ("classes", "image_size", "crop_size", "scale", "mean_image")
        if missing := [key for key in wanted if key not in metadata]:
            raise UserError(
                f"{file}: its metadata does not say how pixels become its input (no {', '.join(missing)}); "
                "say it with --mean, --std, --size and --order"
            )
        try:
            array = np.load(io.BytesIO(base64.b64decode(metadata["mean_image"])), allow_pickle=False)
            image_size, crop_size = int(metadata["image_size"]), int(metadata["crop_size"])
            classes = json.loads(metadata["classes"])
            found = cls(classes, image_size, crop_size, array, _scale(metadata), mean_place=_mean_place(metadata))
        except (ValueError, EOFError) as error:
            raise UserError(f"{file}: its metadata cannot be read ({error}); export it again") from None
        if array.shape != (image_size, image_size, 3) or not 0 < crop_size <= image_size:
            raise UserError(
                f"{file}: its metadata disagrees with itself: mean image {array.shape}, images of {image_size}, "
                f"crops of {crop_size}; export it again"
            )
        return found


@dataclass
class Foreign:
    """What a user says of a network whose file does not: mean and std of its channels, in their order, of pixels from
    0 to 255, or from 0 to 1 where neither is over 1; the side of its input; "rgb" or "bgr"."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    size: int | None = None
    order: str = "rgb"

    def __post_init__(self):
        if self.order not in ("rgb", "bgr"):
            raise UserError(f"--order {self.order}: must be rgb or bgr", exit_code=2)
        if min(self.std) <= 0:
            raise UserError(f"--std {self.std}: must be above 0", exit_code=2)
        divides = self.std != (1.0, 1.0, 1.0)
        if divides and any(self.mean) and (max(self.mean) <= 1) != (max(self.std) <= 1):
            raise UserError(f"--mean {self.mean} --std {self.std}: give both of 0 to 1, or both of 0 to 255", 2)

    @classmethod
    def from_options(cls, mean: str | None, std: str | None, size: int | None, order: str | None) -> "Foreign | None":
        """What the command line's options say; None where they say nothing."""
        said: dict[str, Any] = {"size": size, "order": order}
        said["mean"] = parse_channels("--mean", mean) if mean else None
        said["std"] = parse_channels("--std", std) if std else None
        said = {field: value for field, value in said.items() if value is not None}
        return cls(**said) if said else None

    def preprocessing(self, dataset: Images, input_size: int | None) -> Preprocessing:
        """For the images of a split and an input of input_size pixels; UserError where that is None, and size too."""
        crop_size = self.size or input_size
        if crop_size is None:
            raise UserError("the network takes images of any size: say that of the crops with --size", exit_code=2)
        if crop_size > dataset.image_size:
            raise UserError(f"--size {crop_size}: the data has images of {dataset.image_size} pixels", exit_code=2)
        unit = 255.0 if max(*self.mean, *self.std) <= 1 and any(self.mean) else 1.0
        mean = np.broadcast_to(unit * np.array(self.mean, np.float32), (dataset.image_size,) * 2 + (3,))
        scale = tuple(unit * s for s in self.std)
        return Preprocessing(list(dataset.classes), dataset.image_size, crop_size, mean, scale, self.order)


def parse_channels(option: str, text: str) -> tuple[float, float, float]:
    """ "104,117,123" as three numbers; UserError that names the option."""
    try:
        first, second, third = map(float, text.split(","))
    except ValueError:
        raise UserError(f"{option} {text}: write three numbers, such as 104,117,123", exit_code=2) from None
    return first, second, third


def crops_of(
    dataset: Images, rows: slice, views: int, crop_size: int, mean: torch.Tensor, scale=1.0, mean_place: str = "crop"
) -> torch.Tensor:
    """The centre crop (views=1) or the ten crops of each image in rows: (images * views, 3, crop_size, crop_size)."""
    count = rows.stop - rows.start
    if views == 1:
        crops = centre_crop(count, dataset.image_size, crop_size)
    else:
        top, left, mirror = zip(*ten_crop_offsets(dataset.image_size, crop_size), strict=True)
        crops = Crops(
            torch.tensor(top).repeat(count),
            torch.tensor(left).repeat(count),
            torch.tensor(mirror, dtype=torch.bool).repeat(count),
            torch.zeros(count * views, 3),
        )
    indices = np.repeat(np.arange(rows.start, rows.stop), views)
    pixels = dataset.gather(indices, crops.tops, crops.lefts, crop_size)
    return to_input(pixels, crops, mean, scale, mean_place=mean_place)


def _mean_place(metadata: dict[str, str]) -> str:
    place = metadata.get("mean_place", "crop")  # older files do not say it
    if place not in ("crop", "centre"):
        raise ValueError(f"mean_place {place!r} is neither crop nor centre")
    return place


def _scale(metadata: dict[str, str]) -> float | tuple[float, ...]:
    scale = json.loads(metadata["scale"])
    return tuple(scale) if isinstance(scale, list) else float(scale)
