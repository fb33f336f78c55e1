"""Crops, mirror images, mean and colour (sections 2 and 4.1), on a whole batch, on the device it lies on.

The authors augmented on the CPU while the GPU trained. Here the CPU only gathers uint8 crops (prepared/dataset.py); the
arithmetic runs where the training runs, without waiting for it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

COLOUR_STD = 0.1  # of the factors alpha, both in the text and as run
AS_RUN_SCALE = 1.1  # net 145 divided the image by this after its colour noise


@dataclass
class Crops:
    """Where a batch is cropped and how it is changed: one entry an image."""

    tops: Tensor  # int64 (B,)
    lefts: Tensor  # int64 (B,)
    mirror: Tensor  # bool (B,)
    colour: Tensor  # float32 (B, 3): added to R, G, B, in units of 0..255

    def __getitem__(self, images: slice) -> "Crops":
        """Return the crops of some of the images."""
        return Crops(self.tops[images], self.lefts[images], self.mirror[images], self.colour[images])

    def in_chunks(self, images: int) -> "Crops":
        """Give `images` neighbours one place and one mirror decision, as the authors' code did."""
        first = torch.arange(len(self.tops)) // images * images
        return Crops(self.tops[first], self.lefts[first], self.mirror[first], self.colour)

    def packed(self, pin_memory: bool = False) -> Tensor:
        """Put all into one float32 (B, 6): top, left, mirror, red, green, blue."""
        packed = torch.empty(len(self.tops), 6, pin_memory=pin_memory)
        packed[:, 0], packed[:, 1], packed[:, 2], packed[:, 3:] = self.tops, self.lefts, self.mirror, self.colour
        return packed


def draw_crops(
    generator: torch.Generator,
    batch: int,
    image_size: int,
    crop_size: int,
    random_crop: bool = True,
    mirror: bool = True,
    colour: str = "published",
    components: tuple[np.ndarray, np.ndarray] | None = None,
) -> Crops:
    """Draw the augmentation of `batch` images, on the generator's device.

    Args: random_crop, any of the (image_size - crop_size + 1)^2 places, else the centre; mirror, half of the images;
    colour, "published", "as_run" or "none" (see colour_shift); components, the eigenvalues (3,) and eigenvectors (3, 3)
    of the RGB covariance (Prepared's), which "none" does not need. Raises ValueError for another colour.

    All numbers are drawn whatever is asked for, so that an ablation sees the same crops as the net it is compared with.
    """
    device = generator.device
    # 33 x 33 places of 224 in 256, as in the authors' code; the factor of 2,048 in section 4.1 is 32 x 32 x 2
    corners = torch.randint(image_size - crop_size + 1, (2, batch), generator=generator, device=device)
    mirrored = torch.rand(batch, generator=generator, device=device) < 0.5
    alpha = COLOUR_STD * torch.randn(batch, 3, generator=generator, device=device)
    if not random_crop:
        corners = torch.full_like(corners, (image_size - crop_size) // 2)
    if not mirror:
        mirrored = torch.zeros_like(mirrored)
    shift = torch.zeros_like(alpha) if colour == "none" else colour_shift(alpha, components[0], components[1], colour)
    return Crops(corners[0], corners[1], mirrored, shift)


def colour_shift(alpha: Tensor, eigenvalues, eigenvectors, colour: str) -> Tensor:
    """Compute section 4.1's [p1 p2 p3][a1 l1, a2 l2, a3 l3]^T for each row of alpha; float32 (B, 3), units of 0..255.

    "published" takes the eigenvalues, as printed; "as_run" their square roots, as net 145 did. The printed form depends
    on the unit of the pixels (on 0..255 it would shift by thousands), so both are computed for [0, 1], then scaled.
    """
    strength = torch.as_tensor(eigenvalues, dtype=torch.float32, device=alpha.device)
    vectors = torch.as_tensor(eigenvectors, dtype=torch.float32, device=alpha.device)
    if colour == "as_run":
        strength = strength.sqrt()
    elif colour != "published":
        raise ValueError(f"colour: {colour!r} is not 'published', 'as_run' or 'none'")
    return 255 * (alpha * strength) @ vectors.T


def fixed_crops(batch: int, top: int, left: int, mirror: bool = False, device="cpu") -> Crops:
    """Place the same crop on every image, without colour: one view of ten_crop_offsets."""
    place = torch.full((batch,), top, device=device), torch.full((batch,), left, device=device)
    return Crops(*place, torch.full((batch,), mirror, device=device), torch.zeros(batch, 3, device=device))


def centre_crop(batch: int, image_size: int, crop_size: int, device="cpu") -> Crops:
    """Place the central crop on every image, unmirrored and without colour."""
    place = (image_size - crop_size) // 2
    return fixed_crops(batch, place, place, device=device)


def ten_crop_offsets(image_size: int, crop_size: int) -> list[tuple[int, int, bool]]:
    """List (top, left, mirror) of section 4.1's ten views: four corners and the centre, then their mirror images."""
    end, centre = image_size - crop_size, (image_size - crop_size) // 2
    places = [(0, 0), (0, end), (end, 0), (end, end), (centre, centre)]
    return [(top, left, mirror) for mirror in (False, True) for top, left in places]


def centre_of(mean: Tensor, size: int) -> Tensor:
    """Cut the centre crop (3, size, size) out of a mean image (S, S, 3)."""
    place = (mean.shape[0] - size) // 2
    return mean[place : place + size, place : place + size].permute(2, 0, 1).contiguous()


def to_input(
    pixels: Tensor,
    crops: Crops,
    mean: Tensor,
    scale: float | Tensor = 1.0,
    out: Tensor | None = None,
    mean_place: str = "crop",
) -> Tensor:
    """Compute the network's input: (pixel - mean at the crop's place + colour) / scale, mirrored where asked.

    Args: pixels, uint8 (B, s, s, 3), already cropped at `crops`; mean, float32 (S, S, 3), 0..255; scale, of all or
    (3, 1, 1) of each channel; all on the CPU (input_triton.py does the same on CUDA); out, where to write the result
    (memory that is used again is three times as fast as new memory); mean_place, "centre" for the mean image's centre
    crop under every crop, mirrored or not, as the authors ran it.
    Returns float32 (B, 3, s, s). One image at a time stays in the cache, and is turned around as bytes.
    """
    batch, size = pixels.shape[:2]
    edge, inputs = mean.shape[1], torch.empty(batch, 3, size, size) if out is None else out
    upright = mean.permute(2, 0, 1).contiguous()
    means = {False: upright, True: upright.flip(-1)}
    centre = centre_of(mean, size) if mean_place == "centre" else None
    planes = torch.empty(3, size, size, dtype=torch.uint8)
    coloured, divided = bool(crops.colour.any()), isinstance(scale, Tensor) or scale != 1
    places = (field.tolist() for field in (crops.tops, crops.lefts, crops.mirror))
    for image, result, colour, top, left, mirror in zip(pixels, inputs, crops.colour, *places, strict=True):
        planes.copy_(image.permute(2, 0, 1))
        left = edge - size - left if mirror else left
        under = means[mirror][:, top : top + size, left : left + size] if centre is None else centre
        torch.sub(planes.flip(-1) if mirror else planes, under, out=result)
        if coloured:
            result += colour[:, None, None]
        if divided:
            result /= scale
    return inputs
