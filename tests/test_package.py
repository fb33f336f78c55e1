"""The wheel, built and looked at."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> list[str]:
    """What a wheel of this checkout puts into site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode:
        pytest.skip("not a git checkout")
    for name in files.stdout.splitlines():
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(folder),
        str(copy),
    ]
    built = subprocess.run(build, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return wheel.namelist()


def test_one_name_in_site_packages(names):
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"alexnet_zoo"}


def test_declarations_are_inside(names):
    whole = [("reproduce", "*.toml"), ("reproduce/studies", "*.toml"), ("export", "*.toml"), ("reports", "paper.toml")]
    for folder, pattern in whole:
        for path in (ROOT / folder).glob(pattern):
            assert f"alexnet_zoo/_declared/{folder}/{path.name}" in names
    assert "alexnet_zoo/_declared/reports/paper.toml" in names
    assert "alexnet_zoo/py.typed" in names


def test_every_module_is_inside(names):
    for path in (ROOT / "alexnet_zoo").rglob("*.py"):
        assert str(path.relative_to(ROOT)) in names


def test_no_c_source_and_no_photographs():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    endings = {Path(name).suffix.lower() for name in files}
    assert not endings & {".c", ".cc", ".cpp", ".cu", ".h", ".hpp", ".jpeg", ".jpg", ".npy", ".onnx", ".safetensors"}
