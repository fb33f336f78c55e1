"""Registers the networks with timm by name: each is the paper's list with parts of it replaced."""

from dataclasses import replace
from typing import Any

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model, resolve_pretrained_cfg

from alexnet_zoo.models import layers
from alexnet_zoo.models.alexnet import PAPER, AlexNet
from alexnet_zoo.models.download import fetch_published
from alexnet_zoo.models.fit import filter_state_dict
from alexnet_zoo.models.keywords import changed, drop_before, init_bias, init_std, lrn
from alexnet_zoo.models.layers import BOTH, OWN, classes, conv, dropout, fc, flatten, norm, pool, relu, second_norm
from alexnet_zoo.models.net import Net

RAW_STD = (1 / 255, 1 / 255, 1 / 255)  # timm's transforms then give what the paper's do: 0 to 255, less the mean
CAFFE_MEAN = (122.7 / 255, 116.7 / 255, 104.0 / 255)  # of the training set, per colour: Caffe's files have it as BGR
BVLC = "http://dl.caffe.berkeleyvision.org"


def model_names() -> list[str]:
    """Names all our networks, as timm.create_model takes them."""
    return timm.list_models(module=__name__.rpartition(".")[2])


ONE_GPU = replace(PAPER.with_widths(48, 128, 192, 192, 256), columns=1)  # all of conv5's maps (3.2, footnote)
CONV6 = conv(256, 3, padding=1, reads=BOTH)  # over pool5, in the nets marked *


def as_run(net: Net) -> Net:
    """Changes a list to what the authors ran where it differs from the text; the recipe has how they trained it.

    The order of layers 1 and 2, a second normalisation, alpha divided by n, pooling that rounds up, the deviation of
    the initial weights. train/differences.py lists all differences.
    """
    net = net.with_after("conv1", norm, pool, relu).with_after("conv2", relu, norm, second_norm, pool)
    net = net.with_fields(layers.Norm, alpha=1e-4 / 5).with_fields(layers.Pool, rounds_up=True)
    for name in net.names(layers.Convolution)[2:]:
        net = net.with_fields(name, std=0.03)
    return net


NET145 = as_run(PAPER)
NET146 = as_run(PAPER.with_before("flatten", CONV6, relu)).with_fields("conv6", bias=1)


def caffe(net: Net) -> Net:
    """Changes a list to Caffe's ways: 227 pixels, no padding, LRN across the columns, torch's kind of dropout."""
    net = replace(net, image=227, padding=(0, 0, 0, 0)).with_fields(layers.Norm, alpha=1e-4 / 5, k=1.0, columns=1)
    return net.with_fields(layers.Drop, inverted=True).with_fields("fc6", std=0.005).with_fields("fc7", std=0.005)


ONE_WEIRD_TRICK = Net(
    columns=1,
    layers=(
        *(conv(64, 11, stride=4, padding=2), relu, pool),
        *(conv(192, 5, padding=2, bias=1), relu, pool),
        *(conv(384, 3, padding=1), relu),
        *(conv(256, 3, padding=1, bias=1), relu),
        *(conv(256, 3, padding=1, bias=1), relu, pool),
        flatten,
        *(fc(4096, bias=1), relu, dropout),
        *(fc(4096, bias=1), relu, dropout),
        classes(reads=BOTH),
    ),
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
        **{f"alexnet_krizhevsky{end}.untrained": _cfg() for end in ("", "_1gpu", "_ungrouped", "_6conv")},
        **{f"alexnet_krizhevsky_net{net}.untrained": _cfg() for net in ("145", "145half", "146", "147", "148", "150")},
        "alexnet_krizhevsky_net146_2011.untrained": _cfg(num_classes=21843),
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


def _create(name: str, pretrained: bool, keywords: dict, net: Net) -> AlexNet:
    """The network of a list: keywords.py knows those that change the list, AlexNet and timm take the others."""
    asked, others = changed(net, keywords)
    taps = dict(out_indices=tuple(range(len(net.names(layers.Convolution)))))
    if pretrained:
        others = _with_published_file(name, others)
    own: dict[str, Any] = dict(feature_cfg=taps, pretrained_filter_fn=filter_state_dict, net=asked)
    return build_model_with_cfg(AlexNet, name, pretrained, **own, **others)


def _with_published_file(name: str, keywords: dict) -> dict:
    """Names the file of published weights in timm's keywords, fetched if need be; leaves other sources to timm."""
    overlay = keywords.get("pretrained_cfg_overlay") or {}
    cfg = resolve_pretrained_cfg(name, keywords.get("pretrained_cfg"), overlay)
    if not (cfg.url and cfg.custom_load) or cfg.source or cfg.file or cfg.state_dict or cfg.hf_hub_id:
        return keywords
    overlay = {**overlay, "file": str(fetch_published(cfg.url)), "custom_load": True}
    return {**keywords, "pretrained_cfg_overlay": overlay}


@register_model
def alexnet_krizhevsky(pretrained: bool = False, **kwargs) -> AlexNet:
    """Two columns, as published: 60,965,224 parameters."""
    return _create("alexnet_krizhevsky", pretrained, kwargs, PAPER)


@register_model
def alexnet_krizhevsky_1gpu(pretrained: bool = False, **kwargs) -> AlexNet:
    """The net of one column that section 3.2 compares with: half the kernels in conv1-4, all in conv5 and after."""
    return _create("alexnet_krizhevsky_1gpu", pretrained, kwargs, ONE_GPU)


@register_model
def alexnet_krizhevsky_ungrouped(pretrained: bool = False, **kwargs) -> AlexNet:
    """One tower of full width in which every layer reads all maps: the AlexNet of many blogs."""
    return _create("alexnet_krizhevsky_ungrouped", pretrained, kwargs, replace(PAPER, columns=1))


@register_model
def alexnet_krizhevsky_6conv(pretrained: bool = False, **kwargs) -> AlexNet:
    """With a sixth convolutional layer over pool5, which reads both columns: the nets marked * in Table 2."""
    return _create("alexnet_krizhevsky_6conv", pretrained, kwargs, PAPER.with_before("flatten", CONV6, relu))


@register_model
def alexnet_krizhevsky_net145(pretrained: bool = False, **kwargs) -> AlexNet:
    """The network that the authors ran for the rows without *, which is not quite the one of the text."""
    return _create("alexnet_krizhevsky_net145", pretrained, kwargs, NET145)


@register_model
def alexnet_krizhevsky_net145half(pretrained: bool = False, **kwargs) -> AlexNet:
    """The net of one column that the authors ran: alexnet_krizhevsky_1gpu with net 145's order and constants."""
    return _create("alexnet_krizhevsky_net145half", pretrained, kwargs, as_run(ONE_GPU))


@register_model
def alexnet_krizhevsky_net146(pretrained: bool = False, **kwargs) -> AlexNet:
    """The network that the authors ran for the rows with *: net 145 and a sixth convolutional layer."""
    return _create("alexnet_krizhevsky_net146", pretrained, kwargs, NET146)


@register_model
def alexnet_krizhevsky_net146_2011(pretrained: bool = False, **kwargs) -> AlexNet:
    """Net 146 as pre-trained on Fall 2011: 1,024 linear units a column stand before the 21,843 classes."""
    net = NET146.with_before("fc8", fc(2048, reads=BOTH, name="bottleneck"))
    return _create("alexnet_krizhevsky_net146_2011", pretrained, kwargs, net)


@register_model
def alexnet_krizhevsky_net147(pretrained: bool = False, **kwargs) -> AlexNet:
    """Net 145 with pooling that does not overlap, and with paddings that fit it."""
    net = NET145.with_fields(layers.Pool, window=2).with_fields("conv2", padding=1).with_fields("conv5", padding=0)
    return _create("alexnet_krizhevsky_net147", pretrained, kwargs, net)


@register_model
def alexnet_krizhevsky_net148(pretrained: bool = False, **kwargs) -> AlexNet:
    """Net 145 without normalisation."""
    return _create("alexnet_krizhevsky_net148", pretrained, kwargs, lrn(NET145, False))


@register_model
def alexnet_krizhevsky_net150(pretrained: bool = False, **kwargs) -> AlexNet:
    """Net 145 with columns that meet in fc8 only, and are wider: 160 maps each in conv2, 4,096 units in fc6."""
    net = NET145.with_fields("conv2", width=320).with_fields("conv3", reads=OWN)
    net = net.with_fields("fc6", width=8192, reads=OWN).with_fields("fc7", reads=OWN)
    return _create("alexnet_krizhevsky_net150", pretrained, kwargs, net)


@register_model
def alexnet_bvlc(pretrained: bool = False, **kwargs) -> AlexNet:
    """Caffe's AlexNet, for its public weights: LRN over both columns with k = 1, 227 pixels."""
    return _create("alexnet_bvlc", pretrained, kwargs, init_bias(caffe(PAPER), 0.1))


@register_model
def caffenet_bvlc(pretrained: bool = False, **kwargs) -> AlexNet:
    """Caffe's reference network, for its public weights: as alexnet_bvlc, but pooled before it is normalised."""
    net = PAPER.with_after("conv1", relu, pool, norm).with_after("conv2", relu, pool, norm)
    return _create("caffenet_bvlc", pretrained, kwargs, caffe(net))


@register_model
def alexnet_owt(pretrained: bool = False, **kwargs) -> AlexNet:
    """torchvision's AlexNet ("one weird trick", 2014), for its public weights: one tower, no LRN."""
    net = init_std(ONE_WEIRD_TRICK.with_fields(layers.Drop, inverted=True), "torch")
    return _create("alexnet_owt", pretrained, kwargs, drop_before(net, True))
