"""Crops, mirror images, mean and colour (sections 2 and 4.1), on a whole batch, on the device it lies on.

The authors augmented on the CPU while the GPU trained. Here the CPU only gathers uint8 crops (dataset.py); the
arithmetic runs where the training runs, without waiting for it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

COLOUR_STD = 0.1  # of the factors alpha, both in the text and as run
AS_RUN_SCALE = 1.1  # net 145 divided the image by this after its colour noise: to_input(..., scale=AS_RUN_SCALE)
CPU_STEP = 4  # images that a CPU works on at a time: they stay in its cache, three times faster than the whole batch


@dataclass
class Crops:
    """Where a batch is cropped and how it is changed: one entry an image."""

    tops: Tensor  # int64 (B,)
    lefts: Tensor  # int64 (B,)
    mirror: Tensor  # bool (B,)
    colour: Tensor  # float32 (B, 3): added to R, G, B, in units of 0..255

    def __getitem__(self, images: slice) -> "Crops":
        """Those of some of the images."""
        return Crops(self.tops[images], self.lefts[images], self.mirror[images], self.colour[images])

    def in_chunks(self, images: int) -> "Crops":
        """One place and mirror decision for each `images` neighbours, as the authors' code had it."""
        first = torch.arange(len(self.tops)) // images * images
        return Crops(self.tops[first], self.lefts[first], self.mirror[first], self.colour)

    def pin_memory(self) -> "Crops":
        """The same in memory that a GPU fetches by itself."""
        return Crops(*(field.pin_memory() for field in (self.tops, self.lefts, self.mirror, self.colour)))

    def to(self, device, non_blocking: bool = True) -> "Crops":
        """The same on another device; without waiting, where the memory is pinned."""
        fields = (self.tops, self.lefts, self.mirror, self.colour)
        return Crops(*(field.to(device, non_blocking=non_blocking) for field in fields))


def draw_crops(
    generator: torch.Generator,
    batch: int,
    image_size: int,
    crop_size: int,
    random_crop: bool = True,
    mirror: bool = True,
    colour: str = "published",
    eigenvalues=None,
    eigenvectors=None,
) -> Crops:
    """Draw the augmentation of `batch` images, on the generator's device.

    Args: random_crop, any of the (image_size - crop_size + 1)^2 places, else the centre; mirror, half of the images;
    colour, "published", "as_run" or "none" (see colour_shift), with eigenvalues (3,) and eigenvectors (3, 3) columns of
    the RGB covariance of pixels in [0, 1] (Prepared's). Raises ValueError for another name.

    All numbers are drawn whatever is asked for, so that an ablation sees the same crops as the net it is compared with.
    """
    device = generator.device
    corners = torch.randint(image_size - crop_size + 1, (2, batch), generator=generator, device=device)
    mirrored = torch.rand(batch, generator=generator, device=device) < 0.5
    alpha = COLOUR_STD * torch.randn(batch, 3, generator=generator, device=device)
    if not random_crop:
        corners = torch.full_like(corners, (image_size - crop_size) // 2)
    if not mirror:
        mirrored = torch.zeros_like(mirrored)
    shift = torch.zeros_like(alpha) if colour == "none" else colour_shift(alpha, eigenvalues, eigenvectors, colour)
    return Crops(corners[0], corners[1], mirrored, shift)


def colour_shift(alpha: Tensor, eigenvalues, eigenvectors, colour: str) -> Tensor:
    """Section 4.1: [p1 p2 p3][a1 l1, a2 l2, a3 l3]^T for each row of alpha (B, 3); float32 (B, 3) in units of 0..255.

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
    """The same crop of every image, without colour: one view of ten_crop_offsets."""
    place = torch.full((batch,), top, device=device), torch.full((batch,), left, device=device)
    return Crops(*place, torch.full((batch,), mirror, device=device), torch.zeros(batch, 3, device=device))


def centre_crop(batch: int, image_size: int, crop_size: int, device="cpu") -> Crops:
    """The central crop of every image, as it is."""
    place = (image_size - crop_size) // 2
    return fixed_crops(batch, place, place, device=device)


def ten_crop_offsets(image_size: int, crop_size: int) -> list[tuple[int, int, bool]]:
    """(top, left, mirror) of the ten views of section 4.1: four corners and the centre, then their mirror images."""
    end, centre = image_size - crop_size, (image_size - crop_size) // 2
    places = [(0, 0), (0, end), (end, 0), (end, end), (centre, centre)]
    return [(top, left, mirror) for mirror in (False, True) for top, left in places]


def to_input(pixels: Tensor, crops: Crops, mean: Tensor, scale: float = 1.0) -> Tensor:
    """The network's input: (pixel - mean at the crop's place + colour) / scale, mirrored where asked.

    Args: pixels, uint8 (B, s, s, 3), already cropped at `crops`; mean, float32 (S, S, 3), 0..255; all on one device.
    Returns float32 (B, 3, s, s).
    """
    batch, size = pixels.shape[:2]
    inputs = torch.empty(batch, 3, size, size, device=pixels.device)
    places = mean.unfold(0, size, 1).unfold(1, size, 1)  # a view: the mean's crop (3, s, s) at every (top, left)
    step = CPU_STEP if pixels.device.type == "cpu" else max(batch, 1)
    for part in (slice(start, start + step) for start in range(0, batch, step)):
        shifted = pixels[part].permute(0, 3, 1, 2) - places[crops.tops[part], crops.lefts[part]]
        shifted += crops.colour[part, :, None, None]
        shifted /= scale
        torch.where(crops.mirror[part, None, None, None], shifted.flip(-1), shifted, out=inputs[part])
    return inputs
