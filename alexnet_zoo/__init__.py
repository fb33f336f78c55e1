"""AlexNet, the reference implementation. Importing this package gives timm the paper's networks."""

import sys
from pathlib import Path

__version__ = "0.1.0"

# Everyone but the command itself, which prints its help without the 3 s and 800 MB that timm and torch take to load; a
# room that makes networks imports alexnet_zoo.models. The command is known by its file, for only a name of its own in
# site-packages could be imported before this package.
if Path(sys.argv[0]).name not in ("alexzoo", "alexzoo.exe"):
    from alexnet_zoo import models as models
