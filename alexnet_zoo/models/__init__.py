"""The networks. Importing this room registers them with timm."""

from alexnet_zoo.models.alexnet import AlexNet as AlexNet
