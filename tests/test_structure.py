"""The package as a whole: arrows that run one way."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "alexnet_zoo"
FILES = sorted(PACKAGE.rglob("*.py"))
ORDER = ["models", "data", "train", "onnx", ("report", "benchmark")]  # each room imports from those before it
TREES = {path: ast.parse(path.read_text()) for path in FILES}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): tree for path, tree in TREES.items()}


def imports_of(name: str) -> set[str]:
    """The modules of this package that a module imports, also from within its functions."""
    found = set()
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return (found & set(MODULES)) - {name, "alexnet_zoo"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_arrows_run_one_way(name):
    rooms = [room if isinstance(room, tuple) else (room,) for room in ORDER]

    def height(module: str) -> int | None:
        room = module.split(".")[1] if "." in module else ""
        return next((number for number, names in enumerate(rooms) if room in names), None)

    own = height(name)
    if own is not None:
        assert [other for other in imports_of(name) if (height(other) or 0) > own] == []
