"""The networks by their names in timm: each is AlexNet with other arguments."""

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from alexnet_zoo.models.alexnet import CONV6, PAPER, AlexNet, Conv
from alexnet_zoo.models.weights import filter_state_dict

RAW_STD = (1 / 255, 1 / 255, 1 / 255)  # timm's transforms then give what the paper's do: 0 to 255, less the mean
CAFFE_MEAN = (122.7 / 255, 116.7 / 255, 104.0 / 255)  # of the training set, per colour: Caffe's files have it as BGR
BVLC = "http://dl.caffe.berkeleyvision.org"


def model_names() -> list[str]:
    """The names of all our networks, as timm.create_model takes them."""
    return timm.list_models(module=__name__.rpartition(".")[2])


def with_maps(convs: tuple[Conv, ...], *maps: int) -> tuple[Conv, ...]:
    return tuple(conv._replace(maps=m) for conv, m in zip(convs, maps, strict=True))


def with_order(convs: tuple[Conv, ...], *then: str) -> tuple[Conv, ...]:
    """The same with the first layers followed by something else."""
    return tuple(conv._replace(then=t) for conv, t in zip(convs, then)) + convs[len(then) :]


ONE_GPU = (48, 128, 192, 192, 256)  # maps of the net of one column: half, but all of conv5's (section 3.2, footnote)

# Net 145 as its authors ran it, where that differs from the text: the order of layers 1 and 2, the second
# normalisation, alpha divided by n, the deviation of the initial weights. How it was trained is in its recipe.
NET145 = with_order(PAPER, "norm pool relu", "relu norm map_norm pool")
AS_RUN = dict(lrn={"alpha": 1e-4 / 5}, init_std={name: 0.03 for name in ("conv3", "conv4", "conv5", "conv6")})

# Caffe's networks: 227 pixels without padding, an LRN that crosses the border between columns, torch's kind of dropout.
CAFFE = dict(
    img_size=227,
    padding=(0, 0, 0, 0),
    lrn={"alpha": 1e-4 / 5, "k": 1.0, "columns": 1},
    inverted_dropout=True,
    init_std={"fc6": 0.005, "fc7": 0.005},
)

ONE_WEIRD_TRICK = (
    Conv(64, kernel=11, stride=4, padding=2, then="relu pool"),
    Conv(192, kernel=5, stride=1, padding=2, then="relu pool"),
    Conv(384, kernel=3, stride=1, padding=1, then="relu"),
    Conv(256, kernel=3, stride=1, padding=1, then="relu"),
    Conv(256, kernel=3, stride=1, padding=1, then="relu pool"),
)


def _create_alexnet(variant: str, pretrained: bool, kwargs: dict, **arguments) -> AlexNet:
    """AlexNet with the variant's arguments, over which the caller's go."""
    arguments = {**arguments, **kwargs}
    taps = tuple(range(len(arguments.get("convs", PAPER))))
    return build_model_with_cfg(
        AlexNet,
        variant,
        pretrained,
        feature_cfg=dict(out_indices=taps),
        pretrained_filter_fn=filter_state_dict,
        **arguments,
    )


def _cfg(url: str = "", **kwargs) -> dict:
    return {
        "url": url,
        "custom_load": bool(url),  # models/weights.py checks the file against its published hash, then converts it
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (6, 6),
        "crop_pct": 0.875,  # 224 of 256
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": RAW_STD,
        "first_conv": "conv1",
        "classifier": "fc8",
        "license": "apache-2.0",
        "paper_ids": "neurips:4824",
        "paper_name": "ImageNet Classification with Deep Convolutional Neural Networks",
        **kwargs,
    }


def _caffe_cfg(file: str) -> dict:
    return _cfg(
        f"{BVLC}/{file}.caffemodel",
        input_size=(3, 227, 227),
        crop_pct=227 / 256,
        mean=CAFFE_MEAN,
        license="other",
        origin_url="https://github.com/BVLC/caffe/wiki/Model-Zoo",
        notes=("BVLC released these weights for unrestricted use",),
    )


default_cfgs = generate_default_cfgs(
    {
        "alexnet_krizhevsky.untrained": _cfg(),
        "alexnet_krizhevsky_1gpu.untrained": _cfg(),
        "alexnet_krizhevsky_ungrouped.untrained": _cfg(),
        "alexnet_krizhevsky_6conv.untrained": _cfg(),
        "alexnet_krizhevsky_net145.untrained": _cfg(),
        "alexnet_krizhevsky_net145half.untrained": _cfg(),
        "alexnet_krizhevsky_net146.untrained": _cfg(),
        "alexnet_bvlc.ilsvrc2012": _caffe_cfg("bvlc_alexnet"),
        "caffenet_bvlc.ilsvrc2012": _caffe_cfg("bvlc_reference_caffenet"),
        "alexnet_owt.tv_in1k": _cfg(
            "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            std=IMAGENET_DEFAULT_STD,
            interpolation="bilinear",
            license="bsd-3-clause",
            origin_url="https://github.com/pytorch/vision",
            paper_ids="arXiv:1404.5997",
            paper_name="One weird trick for parallelizing convolutional neural networks",
        ),
    }
)


@register_model
def alexnet_krizhevsky(pretrained: bool = False, **kwargs) -> AlexNet:
    """Two columns, as published: 60,965,224 parameters."""
    return _create_alexnet("alexnet_krizhevsky", pretrained, kwargs)


@register_model
def alexnet_krizhevsky_1gpu(pretrained: bool = False, **kwargs) -> AlexNet:
    """The net of one column that section 3.2 compares with: half the kernels in conv1-4, all in conv5 and after."""
    convs = with_maps(PAPER, *ONE_GPU)
    return _create_alexnet("alexnet_krizhevsky_1gpu", pretrained, kwargs, columns=1, convs=convs)


@register_model
def alexnet_krizhevsky_ungrouped(pretrained: bool = False, **kwargs) -> AlexNet:
    """One tower of full width in which every layer reads all maps: the AlexNet of many blogs."""
    return _create_alexnet("alexnet_krizhevsky_ungrouped", pretrained, kwargs, columns=1)


@register_model
def alexnet_krizhevsky_6conv(pretrained: bool = False, **kwargs) -> AlexNet:
    """With a sixth convolutional layer over pool5, which reads both columns: the nets marked * in Table 2."""
    return _create_alexnet("alexnet_krizhevsky_6conv", pretrained, kwargs, convs=(*PAPER, CONV6))


@register_model
def alexnet_krizhevsky_net145(pretrained: bool = False, **kwargs) -> AlexNet:
    """The network that the authors ran for the rows without *, which is not quite the one of the text."""
    return _create_alexnet("alexnet_krizhevsky_net145", pretrained, kwargs, convs=NET145, **AS_RUN)


@register_model
def alexnet_krizhevsky_net145half(pretrained: bool = False, **kwargs) -> AlexNet:
    """The net of one column that the authors ran: alexnet_krizhevsky_1gpu with net 145's order and constants."""
    convs = with_maps(NET145, *ONE_GPU)
    return _create_alexnet("alexnet_krizhevsky_net145half", pretrained, kwargs, columns=1, convs=convs, **AS_RUN)


@register_model
def alexnet_krizhevsky_net146(pretrained: bool = False, **kwargs) -> AlexNet:
    """The network that the authors ran for the rows with *: net 145 and a sixth convolutional layer."""
    return _create_alexnet("alexnet_krizhevsky_net146", pretrained, kwargs, convs=(*NET145, CONV6), **AS_RUN)


@register_model
def alexnet_bvlc(pretrained: bool = False, **kwargs) -> AlexNet:
    """Caffe's AlexNet, for its public weights: LRN over both columns with k = 1, 227 pixels."""
    return _create_alexnet("alexnet_bvlc", pretrained, kwargs, init_bias=0.1, **CAFFE)


@register_model
def caffenet_bvlc(pretrained: bool = False, **kwargs) -> AlexNet:
    """Caffe's reference network, for its public weights: as alexnet_bvlc, but pooled before it is normalised."""
    convs = with_order(PAPER, "relu pool norm", "relu pool norm")
    return _create_alexnet("caffenet_bvlc", pretrained, kwargs, convs=convs, **CAFFE)


@register_model
def alexnet_owt(pretrained: bool = False, **kwargs) -> AlexNet:
    """torchvision's AlexNet ("one weird trick", 2014), for its public weights: one tower, no LRN."""
    arguments = dict(columns=1, convs=ONE_WEIRD_TRICK, padding=(0, 0, 0, 0), drop_before=True, inverted_dropout=True)
    return _create_alexnet("alexnet_owt", pretrained, kwargs, init_std="torch", **arguments)
