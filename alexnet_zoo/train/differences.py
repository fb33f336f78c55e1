"""Where the run behind the tables differs from the text: the one list, with the fields and layers that say so here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """What the text says, what net 145 did, and which fields of its recipe and layers of its network do that here.

    One without fields and layers is done as run by every recipe here: the text leaves it open, or is no instruction.
    """

    aspect: str
    text: str
    run: str
    fields: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()

    def __str__(self) -> str:
        kinds = (("fields", self.fields), ("layers", self.layers))
        by = "; ".join(f"{kind} {', '.join(names)}" for kind, names in kinds if names) or "every recipe here"
        return f"{self.aspect}: text: {self.text}; run: {self.run} [{by}]"


DIFFERENCES = (
    Difference("alpha of LRN", "1e-4 times the sum", "1e-4 / 5 times the sum", layers=("norm1", "norm2")),
    Difference(
        *("order in layer 1", "conv, ReLU, LRN, pool", "conv, LRN, pool, ReLU"), layers=("relu1", "norm1", "pool1")
    ),
    Difference(
        "order in layer 2",
        "conv, ReLU, LRN, pool",
        "conv, ReLU, LRN, a second normalisation within each map (5x5, k 1, alpha 1e-3 / 25, beta 0.75), pool",
        layers=("map_norm2", "pool2"),
    ),
    Difference(
        *("deviation of the initial weights", "0.01", "0.03 in conv3, conv4, conv5 (and conv6)"),
        layers=("conv3", "conv4", "conv5"),
    ),
    Difference(
        *("rate of the biases", "that of the weights", "0.02 from start to end in most layers, and no weight decay"),
        fields=("bias_lr", "decay_biases"),
    ),
    Difference(
        "rate of the weights",
        "equal for all layers, divided by 10 when the validation error stops falling",
        "divided by 10 by hand; conv1's lowered apart, late, then 0",
        fields=("schedule", "drop_epochs", "epochs", "changes"),
    ),
    Difference(
        "colour noise",
        "eigenvalues times N(0, 0.1)",
        "their square roots times 0.1 N(0, 1), then the image divided by 1.1; switched off late",
        fields=("colour", "changes"),
    ),
    Difference("crop and mirror image", "drawn for each image", "one for each 32 images", fields=("crop_chunk",)),
    Difference(
        "mean",
        "subtracted from each pixel",
        "the mean image's centre crop, wherever the crop was cut, mirrored or not, in the test too",
        fields=("mean_place",),
    ),
    Difference("pooling", "not said", "rounds up, which tells in net 147 only", layers=("pool1", "pool2", "pool5")),
    Difference("places of the crops", '"a factor of 2048" is 32 x 32 places and mirror images', "33 x 33 places"),
    Difference("padding of the image", "not said", "right and bottom, by 3 pixels"),
    Difference("dropout", "outputs halved at test time", "the same, not the inverted form"),
    Difference("conv6", "over the last pooling layer", "3x3, padding 1, 256 maps, each column reads both"),
    Difference("fc8", "not said", "on one GPU, reads both columns; here each column holds it, the same numbers"),
)
