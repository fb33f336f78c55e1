"""Lists the published data sets: what they are called, and how many classes and images they have."""

from dataclasses import dataclass, field

MOST_UNREADABLE = 300  # photographs of a split
HELD_OUT = 50_000  # photographs of Fall 2009 and 2011, about: as many as ILSVRC has for validation


@dataclass(frozen=True)
class PublishedSet:
    name: str  # as results and tables state it
    classes: int
    images: dict[str, int]  # of each split
    within: dict[str, int] = field(default_factory=dict)  # how many more or fewer are right, where they are rounded

    def fits(self, split: str, images: int, classes: int) -> bool:
        """Say whether a split has the published numbers."""
        known = classes == self.classes and split in self.images
        return known and abs(images - self.images[split]) <= self.within.get(split, 0)

    @property
    def held_out(self) -> dict[str, float]:
        """Each split's share of all images, but for what is trained on; those that are scored first."""
        total = sum(self.images.values())
        return {split: self.images[split] / total for split in ("test", "val") if split in self.images}

    def may_lack(self, split: str, unreadable: int) -> bool:
        """Say whether a split is still this set without so many photographs that could not be read.

        Of what is trained on, and of sets whose number was published rounded, one in 10,000, and MOST_UNREADABLE.
        """
        allowed = self.images[split] / 10_000 if self.within or split == "train" else 0
        return unreadable <= min(allowed, MOST_UNREADABLE)


ILSVRC_2010 = PublishedSet("ILSVRC-2010", 1000, {"train": 1_261_406, "val": 50_000, "test": 150_000})
ILSVRC_2012 = PublishedSet("ILSVRC-2012", 1000, {"train": 1_281_167, "val": 50_000, "test": 100_000})
# Section 6: 8.9 million images, "half of the images for training and half for testing"; the training half's HELD_OUT
# steer the rate, so that the half that is scored does not.
FALL_2009 = PublishedSet(
    "ImageNet Fall 2009", 10_184, {"train": 4_450_000 - HELD_OUT, "val": HELD_OUT, "test": 4_450_000},
    within={"train": 25_000, "val": 1_000, "test": 25_000},
)  # fmt: skip
# About 14.2 million images, of which all are trained on but HELD_OUT.
FALL_2011 = PublishedSet(
    "ImageNet Fall 2011", 21_841, {"train": 14_200_000 - HELD_OUT, "val": HELD_OUT},
    within={"train": 200_000, "val": 1_000},
)  # fmt: skip
CIFAR_10 = PublishedSet("CIFAR-10", 10, {"train": 50_000, "test": 10_000})
CIFAR_10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()

PUBLISHED_SETS = {
    published.name.replace(" ", "-"): published  # as recipes name them
    for published in (ILSVRC_2010, ILSVRC_2012, FALL_2009, FALL_2011, CIFAR_10)
}
