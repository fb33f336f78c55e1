"""Published weights from servers on this machine: dead ones, silent ones, slow ones, and one that gives them."""

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import timm
import torch

from alexnet_zoo.errors import UserError
from alexnet_zoo.models import download, weights
from alexnet_zoo.models.download import fetch_published

FILE, OTHER = "bvlc_alexnet.caffemodel", "bvlcalexnet-12.onnx"
CONTENT = bytes(range(256)) * 1000


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class Trickling(Quiet):
    """Sends a byte now and then, and promises many."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(10**6))
        self.end_headers()
        try:
            for _ in range(20):
                self.wfile.write(b".")
                time.sleep(0.05)
        except OSError:  # who asked has left
            pass


def serving(handler) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path) -> Path:
    """What the good server serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / OTHER).write_bytes(CONTENT)
    (folder / FILE).write_bytes(b"not the weights")
    return folder


@pytest.fixture
def good(folder) -> Iterator[str]:
    yield from serving(partial(Quiet, directory=str(folder)))


@pytest.fixture
def trickling() -> Iterator[str]:
    yield from serving(Trickling)


@pytest.fixture
def silent() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def dead() -> str:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of timm's, which knows the hash of what the good server has."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setitem(weights.PUBLISHED, OTHER, ("sha256", hashlib.sha256(CONTENT).hexdigest()))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def second(monkeypatch, good) -> None:
    """The good server as the second source of FILE."""
    monkeypatch.setitem(download.ELSEWHERE, FILE, (f"{good}/{OTHER}",))


@pytest.mark.parametrize("first", ["dead", "silent", "trickling", "good"])
def test_the_next_source_gives_what_the_first_one_does_not(first, request, cache, second, capsys):
    address = request.getfixturevalue(first)
    path = fetch_published(f"{address}/{FILE}", seconds=0.3)
    assert path == cache / OTHER and path.read_bytes() == CONTENT
    why = {"dead": "Connection refused", "silent": "no answer for 0.3 s", "trickling": "slow, 0 kB/s"}
    said = capsys.readouterr().err
    assert why.get(first, "its sha1 is") in said and "trying the next source" in said
    assert sorted(file.name for file in cache.iterdir()) == [OTHER]  # no part of the other is left

    began = time.monotonic()
    assert fetch_published(f"{address}/{FILE}", seconds=5) == path  # at hand now: nobody is asked
    assert time.monotonic() - began < 1 and not capsys.readouterr().err


def test_where_no_source_gives_it_one_line_says_what_to_put_where(dead, cache, folder, second):
    (folder / OTHER).write_bytes(CONTENT[:-1])
    with pytest.raises(UserError) as raised:
        fetch_published(f"{dead}/{FILE}", seconds=0.3)
    assert f"put {FILE} or {OTHER} into {cache}" in str(raised.value) and "\n" not in str(raised.value)
    assert "Connection refused" in str(raised.value) and "its sha256 is" in str(raised.value)
    assert list(cache.iterdir()) == []
    (folder / OTHER).unlink()
    with pytest.raises(UserError, match="File not found"):
        fetch_published(f"{dead}/{FILE}", seconds=0.3)


def test_the_last_source_may_be_slow_but_must_be_whole(trickling, cache):
    with pytest.raises(UserError, match="ended after 20 of 1,000,000 bytes"):
        fetch_published(f"{trickling}/weights.pth", seconds=0.5)


def test_timm_gets_the_weights_of_the_second_source(dead, cache, folder, second, monkeypatch):
    """From torchvision's file under the other name's place: the formats are tested in test_weights.py."""
    torch.manual_seed(0)
    theirs = timm.create_model("alexnet_owt", width_mult=1 / 8, num_classes=7)
    torch.save(theirs.state_dict(), folder / "second.pth")
    monkeypatch.setitem(download.ELSEWHERE, "first.pth", (download.ELSEWHERE[FILE][0].replace(OTHER, "second.pth"),))
    overlay = dict(url=f"{dead}/first.pth", custom_load=True)
    options = dict(width_mult=1 / 8, num_classes=7, pretrained_cfg_overlay=overlay)
    ours = timm.create_model("alexnet_owt", pretrained=True, **options)
    assert torch.equal(ours.fc8.weight, theirs.fc8.weight) and (cache / "second.pth").is_file()


def test_every_second_source_has_a_hash():
    for first, others in download.ELSEWHERE.items():
        assert first in weights.PUBLISHED
        assert all(Path(other).name in weights.PUBLISHED and other.startswith("https://") for other in others)
