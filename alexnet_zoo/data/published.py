"""Lists the published data sets: what they are called, and how many classes and images they have."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedSet:
    name: str  # as results and tables state it
    classes: int
    images: dict[str, int]  # of each split
    within: int = 0  # how many more or fewer are still right, where the number was published rounded

    def fits(self, split: str, images: int, classes: int) -> bool:
        """Say whether a split has the published numbers."""
        known = classes == self.classes and split in self.images
        return known and abs(images - self.images[split]) <= self.within


ILSVRC_2010 = PublishedSet("ILSVRC-2010", 1000, {"train": 1_261_406, "val": 50_000, "test": 150_000})
ILSVRC_2012 = PublishedSet("ILSVRC-2012", 1000, {"train": 1_281_167, "val": 50_000, "test": 100_000})
# Section 6: 8.9 million images, "half of the images for training and half for testing".
FALL_2009 = PublishedSet("ImageNet Fall 2009", 10_184, {"train": 4_450_000, "test": 4_450_000}, within=25_000)
# About 14.2 million images; a tenth of them for validation, unless the user says otherwise.
FALL_2011 = PublishedSet("ImageNet Fall 2011", 21_841, {"train": 12_780_000, "val": 1_420_000}, within=710_000)
CIFAR_10 = PublishedSet("CIFAR-10", 10, {"train": 50_000, "test": 10_000})
CIFAR_10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()

PUBLISHED_SETS = {
    published.name.replace(" ", "-"): published  # as recipes name them
    for published in (ILSVRC_2010, ILSVRC_2012, FALL_2009, FALL_2011, CIFAR_10)
}
