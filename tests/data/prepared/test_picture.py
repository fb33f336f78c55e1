"""Every kind of photograph that ILSVRC holds comes out right, against plain Pillow and numpy."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from alexnet_zoo.data.prepared import picture

SIZE = 32


def gradient(width=80, height=60) -> np.ndarray:
    """Red grows to the right, green downwards, blue is 100: every turn and every mirror image is told apart."""
    across, down = np.linspace(0, 255, width), np.linspace(0, 255, height)
    red, green = np.meshgrid(across, down)
    return np.stack([red, green, np.full_like(red, 100)], -1).round().astype(np.uint8)


def encode(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def square(data: bytes, size: int = SIZE) -> np.ndarray:
    return np.frombuffer(picture.square(data, size), np.uint8).reshape(size, size, 3).astype(int)


def resized_then_cropped(image: Image.Image, size: int = SIZE) -> np.ndarray:
    shorter = min(image.size)
    whole = image.resize([round(side * size / shorter) for side in image.size], Image.Resampling.BICUBIC)
    left, top = (whole.width - size) // 2, (whole.height - size) // 2
    return np.asarray(whole.crop((left, top, left + size, top + size))).astype(int)


EXPECTED = resized_then_cropped(Image.fromarray(gradient()))


@pytest.mark.parametrize("width, height", [(80, 60), (60, 80), (33, 32), (20, 31), (500, 375), (32, 32)])
def test_shorter_side_is_rescaled_and_the_centre_cropped(width, height):
    image = Image.fromarray(gradient(width, height))
    assert np.abs(square(encode(image, "PNG")) - resized_then_cropped(image)).max() <= 1


def test_antialiasing():
    stripes = np.zeros((640, 640, 3), np.uint8)
    stripes[:, ::2] = 255  # finer than the result can show: without antialiasing, black or white
    assert np.abs(square(encode(Image.fromarray(stripes), "PNG")) - 127.5).max() < 3


def test_large_jpeg_is_the_same_as_decoded_whole():
    detail = np.random.default_rng(0).integers(0, 256, (30, 45, 3), dtype=np.uint8)
    data = encode(Image.fromarray(detail).resize((1499, 1001), Image.Resampling.BICUBIC), "JPEG", quality=95)
    difference = np.abs(square(data) - resized_then_cropped(Image.open(io.BytesIO(data))))
    assert difference.max() <= 4 and difference.mean() < 0.6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(orientation):
    turn = {  # what a camera stores, so that a viewer who obeys the tag sees `gradient`
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a), 7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(np.ascontiguousarray(turn(gradient()))), "JPEG", quality=95, subsampling=0, exif=exif)
    assert np.abs(square(data) - EXPECTED).max() <= 6


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_ignored():
    data = encode(Image.fromarray(gradient()), "JPEG", quality=95, subsampling=0, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert np.abs(square(data) - EXPECTED).max() <= 6


def test_cmyk_jpeg():
    rgb = gradient().astype(int)
    cmyk = np.concatenate([255 - rgb, np.zeros_like(rgb[..., :1])], -1).astype(np.uint8)
    data = encode(Image.fromarray(cmyk, "CMYK"), "JPEG", quality=98, subsampling=0)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert np.abs(square(data) - EXPECTED).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_greyscale(kind):
    grey = Image.fromarray(gradient()[..., 0])
    found = square(encode(grey, kind))
    assert (found[..., 0] == found[..., 1]).all() and (found[..., 0] == found[..., 2]).all()
    assert np.abs(found[..., 0] - EXPECTED[..., 0]).max() <= 3


def test_sixteen_bit_greyscale():
    grey = gradient()[..., 0].astype(np.uint16) * 257
    data = encode(Image.fromarray(grey), "PNG")
    assert Image.open(io.BytesIO(data)).mode.startswith("I")
    assert np.abs(square(data)[..., 1] - EXPECTED[..., 0]).max() <= 1


@pytest.mark.parametrize("transparent", [False, True])
def test_palette(transparent):
    pixels = np.zeros((40, 40), np.uint8)
    pixels[:, 20:] = 1
    image = Image.fromarray(pixels, "P")
    image.putpalette([250, 10, 20, 30, 240, 50])
    found = square(encode(image, "PNG", **({"transparency": bytes([255, 0])} if transparent else {})))
    assert (found[:, :10] == [250, 10, 20]).all() and (found[:, -10:] == [30, 240, 50]).all()


def test_alpha_is_left_out():
    image = np.dstack([gradient(), np.full((60, 80), 7, np.uint8)])
    assert np.abs(square(encode(Image.fromarray(image, "RGBA"), "PNG")) - EXPECTED).max() <= 1


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.95])
def test_truncated_is_an_error(kept):
    data = encode(Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)), "JPEG")
    with pytest.raises((OSError, SyntaxError)) as caught:
        picture.square(data[: int(kept * len(data)) if kept < 1 else kept], SIZE)
    assert picture.reason(caught.value) and "\n" not in picture.reason(caught.value)


def test_decoding_process_imports_neither_torch_nor_the_package():
    program = (
        "import runpy, sys, io; sys.stdin = io.StringIO(); "
        f"runpy.run_path({picture.__file__!r}, run_name='__main__'); "
        "print(sorted({'torch', 'numpy', 'alexnet_zoo'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
