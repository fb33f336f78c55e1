"""Systems that are not Linux: what only POSIX or glibc has is taken away from a fresh process, which then works."""

import os
import subprocess
import sys

import pytest

WITHOUT = """
import os, platform, signal, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "grp", "pwd", "resource", "termios"):
            raise ImportError(f"{name}: not on this system")

sys.meta_path.insert(0, Absent())
for module, names in {
    os: ("getloadavg", "pread", "sched_getaffinity", "sched_setaffinity"),
    signal: ("SIGHUP", "SIGQUIT", "pthread_sigmask"),
}.items():
    for name in names:
        delattr(module, name)
platform.libc_ver = lambda *_: ("", "")
"""
IMPORTS = """
import importlib, pkgutil, alexnet_zoo
for module in pkgutil.walk_packages(alexnet_zoo.__path__, "alexnet_zoo."):
    if not module.name.endswith(("__main__", "_triton")):  # triton is Linux's alone
        importlib.import_module(module.name)
"""
REPRODUCE = """
from alexnet_zoo.cli import main
sys.argv = ["alexzoo", "reproduce", "--out", "run", "--set", "image_size=72", "--set", "crop_size=64"]
sys.argv += ["--set", "model_args.img_size=64", "--set", "model_args.width_mult=0.125", "--set", "epochs=1"]
main()
"""


@pytest.mark.slow
def test_every_module_is_imported_and_the_digits_are_learned_without_what_only_linux_has(tmp_path):
    """In ASCII besides: a file that is written must say its encoding."""
    environment = {**os.environ, "ALEXZOO_CACHE": str(tmp_path / "cache"), "USERNAME": "somebody"}
    environment |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", WITHOUT + IMPORTS + REPRODUCE]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    assert "top-1 error" in ended.stdout and (tmp_path / "run" / "report" / "report.html").exists()
