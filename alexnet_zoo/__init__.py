"""AlexNet, the reference implementation. Importing this package gives timm the paper's networks."""

from alexnet_zoo import models as models  # registers them with timm

__version__ = "0.1.0"
