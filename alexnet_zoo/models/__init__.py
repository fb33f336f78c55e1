"""Holds the networks; importing it registers them with timm."""

from alexnet_zoo.models import cifar as cifar
from alexnet_zoo.models.alexnet import AlexNet as AlexNet
from alexnet_zoo.models.count import layer_shapes as layer_shapes
from alexnet_zoo.models.variants import model_names as model_names
