"""The networks. Importing this room registers them with timm."""

from alexnet_zoo.models import cifar as cifar
from alexnet_zoo.models.alexnet import AlexNet as AlexNet
