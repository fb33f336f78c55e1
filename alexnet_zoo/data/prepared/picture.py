"""Turns one photograph into one square of pixels (section 2), and as a small program does so for many.

decoders.py runs this file by its path, in several processes: a process then starts in a tenth of a second with Pillow
alone. Importing it as part of the package would bring torch into every one of them.
"""

import base64
import io
import json
import signal
import sys
import warnings
from contextlib import suppress
from functools import lru_cache

from PIL import Image, ImageOps, UnidentifiedImageError


def square(data: bytes, image_size: int) -> bytes:
    """Decode one encoded image: shorter side to image_size, central square.

    Returns image_size * image_size * 3 bytes, rows of RGB. Raises whatever Pillow does for data it cannot read whole.
    """
    image = Image.open(io.BytesIO(data))
    full = image.size
    # A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, but never below twice the target, so that the antialiasing
    # filter below still does the work.
    image.draft(None, (2 * image_size, 2 * image_size))
    image.load()
    reduced = round(max(full) / max(image.size))
    stored = image.size
    with suppress(Exception):  # some photographs of ILSVRC carry a broken EXIF block: their pixels are still right
        ImageOps.exif_transpose(image, in_place=True)  # else it would copy what is upright already
    width, height = full if image.size == stored else full[::-1]
    left, top, right, bottom = (edge / reduced for edge in _box(width, height, image_size))
    square, box = (image_size, image_size), (left, top, right, bottom)
    return _rgb(image).resize(square, Image.Resampling.BICUBIC, box=box).tobytes()


def _box(width: int, height: int, image_size: int) -> tuple[float, float, float, float]:
    """Find the central square of the rescaled image in the image itself: no more than that need be rescaled."""
    shorter = min(width, height)
    new_width, new_height = round(width * image_size / shorter), round(height * image_size / shorter)
    left, top = (new_width - image_size) // 2, (new_height - image_size) // 2
    across, down = width / new_width, height / new_height
    return left * across, top * down, (left + image_size) * across, (top + image_size) * down


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):  # 16 bits a pixel: keep the upper 8, as libpng does for RGB
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def reason(error: Exception) -> str:
    """Say why an image could not be read, in a few words on one line."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return " ".join(f"{type(error).__name__}: {error}".split())


JPEG_QUALITY = 88  # makes JPEGs of about a tenth of the pixels' bytes


def jpeg(pixels: bytes, image_size: int) -> bytes:
    """Encode the square as a JPEG."""
    out = io.BytesIO()
    Image.frombytes("RGB", (image_size, image_size), pixels).save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def read(file) -> bytes:
    """Read an encoded image from a path, from [archive, first byte, bytes] or from {"base64": the image itself}."""
    if isinstance(file, str):
        with open(file, "rb") as photograph:
            return photograph.read()
    if isinstance(file, dict):
        return base64.b64decode(file["base64"])
    archive, start, size = file
    stream = _opened(archive)
    stream.seek(start)
    return stream.read(size)


@lru_cache(maxsize=1)  # photographs of one archive come one after another; a closed file ends with its process
def _opened(archive: str) -> io.BufferedReader:
    return open(archive, "rb")


def fill(shard: str, offset: int, stride: int, image_size: int, encoding: str, first_row: int, files: list) -> dict:
    """Decode `files` into the rows first_row.. of a shard: row n starts at byte offset + n * stride.

    Returns "sizes", the bytes written for each file, and "unreadable", [row, reason] for each one that cannot be read;
    its row is left as it was.
    """
    unreadable, sizes = [], []
    with open(shard, "r+b") as out:
        for row, file in enumerate(files, first_row):
            sizes.append(0)
            try:
                content = square(read(file), image_size)
            except Exception as error:  # Pillow's decoders raise nearly every type there is
                unreadable.append([row, reason(error)])
                continue
            if encoding == "jpeg":
                content = jpeg(content, image_size)
            sizes[-1] = len(content)
            if len(content) > stride:  # it would run into the next one; no photograph does
                raise ValueError(f"row {row} takes {len(content)} bytes, there is room for {stride}")
            out.seek(offset + row * stride)
            out.write(content)
    return {"unreadable": unreadable, "sizes": sizes}


def main() -> None:
    """Answer tasks, one JSON object a line, from stdin to stdout, until stdin is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which then closes stdin
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        try:
            answer = fill(**json.loads(line))
        except Exception as error:  # the shard could not be written: a full disk, a vanished folder
            answer = {"failed": reason(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
