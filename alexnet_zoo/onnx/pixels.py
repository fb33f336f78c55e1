"""Puts the paper's test procedure (section 4.1) around a network: 256x256 pixels in, probabilities out."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from alexnet_zoo.data.batches.augment import centre_of, ten_crop_offsets
from alexnet_zoo.onnx.preprocessing import Preprocessing


class Planes(nn.Module):
    """Turns uint8 images (N, S, S, 3) into float32 (N, 3, S, S)."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.permute(0, 3, 1, 2).float()


class LessTheMean(nn.Module):
    """Subtracts the mean image (3, s, s) from images (N, 3, s, s), and divides by the scale."""

    def __init__(self, mean_image: Tensor, scale: Tensor):
        super().__init__()
        self.register_buffer("image", mean_image)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.image) / self.scale


class TenCrops(nn.Module):
    """Cuts (10 N, 3, size, size) out of (N, 3, S, S): corners and centre of each image, and their mirror images."""

    def __init__(self, image_size: int, crop_size: int):
        super().__init__()
        self.size, self.places = crop_size, ten_crop_offsets(image_size, crop_size)

    def forward(self, x: Tensor) -> Tensor:
        s = self.size
        crops = [x[:, :, top : top + s, left : left + s] for top, left, _ in self.places]
        mirrored = [crop.flip(-1) if mirror else crop for crop, (_, _, mirror) in zip(crops, self.places)]
        return torch.stack(mirrored, dim=1).reshape(-1, 3, s, s)


class AverageOfTen(nn.Module):
    """Averages the probabilities (10 N, classes) of an image's crops: (N, classes)."""

    def forward(self, probabilities: Tensor) -> Tensor:
        return probabilities.reshape(-1, 10, probabilities.shape[1]).mean(dim=1)


def with_test_procedure(model: nn.Module, inputs: Preprocessing) -> nn.Sequential:
    """Puts a network's layers, under their own names, between the layers of the test procedure."""
    centred = inputs.mean_place == "centre"  # as run: the same mean under every crop, so it follows the cropping
    mean_image = centre_of(inputs.mean_tensor(), inputs.crop_size if centred else inputs.image_size)
    mean = {"mean": LessTheMean(mean_image, inputs.scale_tensor().reshape(-1, 1, 1))}
    ten_crops = {"ten_crops": TenCrops(inputs.image_size, inputs.crop_size)}
    layers = OrderedDict(
        planes=Planes(),
        **(ten_crops | mean if centred else mean | ten_crops),
        **dict(model.named_children()),
        softmax=nn.Softmax(dim=1),
        average=AverageOfTen(),
    )
    return nn.Sequential(layers)
