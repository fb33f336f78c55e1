"""timm's own test file on our networks: python tests/timm_suite.py [PYTEST ARGUMENTS]

Fetches timm's source distribution of the installed version (the tests are not in the wheel) through pip into
~/.cache/alexnet_zoo, and runs its tests/test_models.py as it stands. The file asks timm for lists of models and makes
a test of each; here those lists name our networks and no others. Tests that are written for certain models of timm's
are left out, and one test of one network (UNPADDED). Those that load published weights are skipped where the weights
are not in timm's cache.
"""

import os
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest
import timm
from timm.models._hub import check_cached_file

from alexnet_zoo.models import model_names

# timm's file lets off, by their names, its own networks whose convolutions have no padding, as conv5 of net 147: maps
# may shrink below half of what their stride says, here to 3 of 96 / 16.
UNPADDED = "test_model_forward_features[1-alexnet_krizhevsky_net147]"
SCRATCH = Path(os.environ.get("ALEXZOO_CACHE", Path.home() / ".cache" / "alexnet_zoo"))


def fetch(folder: Path) -> Path:
    """The unpacked source distribution of the installed timm; RuntimeError where pip cannot get it."""
    name = f"timm-{version('timm')}"
    if not (folder / name / "tests" / "test_models.py").exists():
        wanted = f"timm=={version('timm')}"
        command = [sys.executable, "-m", "pip", "download", wanted, "--no-deps", "--no-binary", "timm", "-q"]
        done = subprocess.run([*command, "-d", str(folder)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"pip cannot download the source of {wanted}: {done.stderr.strip().splitlines()[-1]}")
        with tarfile.open(folder / f"{name}.tar.gz") as tar:
            tar.extractall(folder, filter="data")
    return folder / name


class OurModels:
    """A pytest plugin: lists of models name ours only, and so do the tests that are kept."""

    def __init__(self):
        self.names = model_names()
        our_module = timm.models._registry._model_to_module[self.names[0]]
        list_models, list_pretrained = timm.list_models, timm.list_pretrained

        def ours_of(names: list[str]) -> list[str]:
            return [name for name in names if name.split(".")[0] in self.names]

        def list_ours(filter="", module="", **options):
            if module:  # a list of timm's modules that can do something: ours can too
                module = [*([module] if isinstance(module, str) else module), our_module]
            return ours_of(list_models(filter, module, **options))

        def list_our_pretrained(*arguments, **options):
            return ours_of(list_pretrained(*arguments, **options))

        for place in (timm, timm.models, timm.models._registry):
            place.list_models, place.list_pretrained = list_ours, list_our_pretrained

    def pytest_runtest_setup(self, item):
        if item.name == UNPADDED:
            pytest.skip("conv5 of net 147 has no padding")
        if item.function.__name__.endswith("_pretrained"):
            url = timm.get_pretrained_cfg(item.callspec.params["model_name"]).url
            if not check_cached_file(url):
                pytest.skip(f"published weights, not downloaded yet: {url}")

    def pytest_collection_modifyitems(self, config, items):
        def is_ours(item) -> bool:
            asked = getattr(item, "callspec", None) and item.callspec.params.get("model_name")
            return isinstance(asked, str) and asked.split(".")[0] in self.names

        others = [item for item in items if not is_ours(item)]
        items[:] = [item for item in items if is_ours(item)]
        config.hook.pytest_deselected(items=others)


def main(arguments: list[str]) -> int:
    """Runs it; pytest's exit code."""
    os.environ.pop("GITHUB_ACTIONS", None)  # with it timm's file leaves out some of its tests
    SCRATCH.mkdir(parents=True, exist_ok=True)
    source = fetch(SCRATCH)
    plugin = OurModels()
    quiet = ["-q", "-rs", "-W", "ignore", "-p", "no:cacheprovider"]
    options = [*quiet, f"--rootdir={source}", "-c", str(source / "pyproject.toml")]
    return pytest.main([*options, str(source / "tests" / "test_models.py"), *arguments], plugins=[plugin])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
