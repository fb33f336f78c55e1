"""The package as a whole: one name for one thing, short functions, and arrows that run one way."""

import ast
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "alexnet_zoo"
FILES = sorted(PACKAGE.rglob("*.py"))
ORDER = ["models", "data", "train", "onnx", "study", ("report", "benchmark")]  # each room imports from those before it
LINES, PARAMETERS = 40, 8
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
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if names <= set(MODULES) else names | {node.module}
    return (found & set(MODULES)) - {name, "alexnet_zoo"}


def twice(names: list[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def test_no_two_modules_of_one_name():
    assert twice([path.stem for path in FILES if path.stem != "__init__"]) == []


def test_no_two_classes_of_one_name():
    classes = [node.name for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert twice(classes) == []


def test_functions_are_short():
    """Excepted are commands, whose parameters are options, and the parameters of kernels, which take no objects."""
    found = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and path.name != "cli.py":
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                parameters = len([argument for argument in arguments if argument.arg not in ("self", "cls")])
                lines = node.end_lineno - node.lineno + 1
                kernel = any(ast.unparse(decorator) == "triton.jit" for decorator in node.decorator_list)
                if lines > LINES or (parameters > PARAMETERS and not kernel):
                    found.append(f"{path.name}: {node.name}: {lines} lines, {parameters} parameters")
    assert found == []


def test_no_circle():
    imports = {name: imports_of(name) for name in MODULES}
    while free := [name for name, needed in imports.items() if not needed & set(imports)]:
        for name in free:
            del imports[name]
    assert imports == {}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_arrows_run_one_way(name):
    rooms = [room if isinstance(room, tuple) else (room,) for room in ORDER]

    def height(module: str) -> int | None:
        room = module.split(".")[1] if "." in module else ""
        return next((number for number, names in enumerate(rooms) if room in names), None)

    own = height(name)
    if own is not None:
        assert [other for other in imports_of(name) if (height(other) or 0) > own] == []
