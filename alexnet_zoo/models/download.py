"""Fetches published weights into timm's cache, from the first of their sources that gives them."""

import time
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from timm.models._hub import get_cache_dir

from alexnet_zoo.errors import UserError
from alexnet_zoo.files import written_whole
from alexnet_zoo.models.weights import hash_problem
from alexnet_zoo.progress import Progress, say

# The ONNX Model Zoo moved to the Hub; its files' hashes stand in the Git LFS pointers of github.com/onnx/models.
MODEL_ZOO = "https://huggingface.co/onnxmodelzoo/legacy_models/resolve/main/validated/vision/classification"
ELSEWHERE = {  # a published file: where else the same weights are, in another format too
    "bvlc_alexnet.caffemodel": (f"{MODEL_ZOO}/alexnet/model/bvlcalexnet-12.onnx",),
    "bvlc_reference_caffenet.caffemodel": (f"{MODEL_ZOO}/caffenet/model/caffenet-12.onnx",),
}
SECONDS = 20.0  # without an answer, after which the next source is tried
SLOWEST = 50_000  # bytes a second over so many seconds, likewise
MB = 1_000_000
SIZE = 244 * MB  # of each of these files, for a source that does not say it


class Unavailable(Exception):
    """A source that does not give its file: why, in words."""


def fetch_published(url: str, seconds: float = SECONDS) -> Path:
    """Finds the weights of a published file in timm's cache, or fetches them there: from url, else from elsewhere.

    Returns the file, which may be of another format than the one at url. Raises UserError, which says what to put
    where, if no source gives it.
    """
    cache = Path(get_cache_dir())
    sources = {source: cache / _file(source) for source in (url, *ELSEWHERE.get(_file(url), ()))}
    for path in sources.values():
        if path.is_file():
            return path
    problems: list[str] = []
    for source, path in sources.items():
        last = len(problems) == len(sources) - 1
        try:
            _download(source, path, seconds, 0 if last else SLOWEST)
            return path
        except Unavailable as problem:
            problems.append(f"{urlsplit(source).netloc or source}: {problem}")
            if not last:
                say(f"{_file(source)}: {problems[-1]}; trying the next source")
    names = " or ".join(path.name for path in sources.values())
    raise UserError(f"{_file(url)}: cannot be had ({'; '.join(problems)}); put {names} into {cache}")


def _file(url: str) -> str:
    return Path(urlsplit(url).path).name


def _download(url: str, path: Path, seconds: float, slowest: float) -> None:
    """Fetches url to path, whole or not at all, and checks its published hash; raises Unavailable."""
    with _opened(url, seconds) as answer, written_whole(path) as partial:
        length = int(answer.headers.get("Content-Length") or 0)
        name = f"{path.name} from {urlsplit(url).netloc}"
        with partial.open("wb") as file, Progress((length or SIZE) // MB, name, "MB") as progress:
            for block in _blocks(answer, seconds, slowest):
                file.write(block)
                progress.update(file.tell() // MB - progress.done)
            if length and file.tell() != length:
                raise Unavailable(f"ended after {file.tell():,} of {length:,} bytes")
        if problem := hash_problem(partial, path.name):
            raise Unavailable(problem)


def _opened(url: str, seconds: float) -> HTTPResponse:
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "alexnet_zoo"})
        return urllib.request.urlopen(request, timeout=seconds)
    except (OSError, HTTPException) as error:
        raise Unavailable(_reason(error, seconds)) from error


def _blocks(answer: HTTPResponse, seconds: float, slowest: float) -> Iterator[bytes]:
    """Yields what arrives; raises Unavailable where nothing does, or less than `slowest` bytes a second."""
    since, arrived = time.monotonic(), 0
    while True:
        try:
            block = answer.read1(MB)
        except (OSError, HTTPException) as error:
            raise Unavailable(_reason(error, seconds)) from error
        if not block:
            return
        yield block
        arrived += len(block)
        if (passed := time.monotonic() - since) > seconds:
            if arrived < slowest * passed:
                raise Unavailable(f"slow, {arrived / passed / 1000:.0f} kB/s")
            since, arrived = time.monotonic(), 0


def _reason(error: Exception, seconds: float) -> str:
    """Puts a network's error into words."""
    inner = getattr(error, "reason", error)  # urllib wraps the error of the socket
    if isinstance(inner, TimeoutError):
        return f"no answer for {seconds:g} s"
    return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
