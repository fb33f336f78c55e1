"""Gives random pixels in place of photographs, where it does not matter what is on an image."""

import numpy as np
import torch


class Noise:
    """Holds `count` images of class 0, of which 64 differ, image_size x image_size, with the methods of a Dataset."""

    def __init__(self, count: int, image_size: int, classes: list[str]):
        self.name, self.image_size, self.classes = "noise", image_size, classes
        self.labels = np.zeros(count, np.int64)
        self.pixels = np.random.default_rng(0).integers(0, 256, (64, image_size, image_size, 3), np.uint8)

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, indices, tops, lefts, size: int) -> torch.Tensor:
        places = zip(np.asarray(indices) % len(self.pixels), np.asarray(tops), np.asarray(lefts), strict=True)
        return torch.from_numpy(np.stack([self.pixels[i, t : t + size, c : c + size] for i, t, c in places]))
