# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Decoding of pictures: transparency, modes, orientation, broken metadata, broken files."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps
from qwen_vl_utils.vision_process import to_rgb
from support.pictures import (
    BROKEN_EXIF_JPEG,
    UPRIGHT_SIZE,
    encoded,
    exif,
    jpeg_with_exif,
    orientation,
    png,
    random_exif,
)

from verl_mapo.rollout.decode import UnreadableImage, decode, read_file, shown_pixels

SAMPLE = Path(__file__).parents[2].parent / "shared" / "samples" / "exif_minimal.jpg"
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def pixels(content: bytes) -> list[tuple[int, int, int]]:
    return [tuple(pixel) for row in np.asarray(decode(content)).tolist() for pixel in row]


PEAK = """
import io, sys
from pathlib import Path
from PIL import Image
from verl_mapo.rollout.decode import decode

def largest_resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

def peak(mode, orientation, size):
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[274] = orientation
    image = Image.new(mode, size)
    image.save(buffer, "PNG" if mode == "RGBA" else "JPEG", exif=exif.tobytes())
    del image
    Path("/proc/self/clear_refs").write_text("5")  # forgets the largest resident memory so far
    least = largest_resident()
    kept = decode(buffer.getvalue())
    return (largest_resident() - least) / (size[0] * size[1])

for mode, orientation in (("RGB", 1), ("RGB", 3), ("RGB", 6), ("RGBA", 1), ("L", 1)):
    peak(mode, orientation, (64, 48))
    print(peak(mode, orientation, (3000, 2000)))
"""
"""Prints the bytes a pixel by which opening a picture raises the largest resident memory of a process."""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="only Linux tells and forgets the peak")
def test_opening_a_picture_makes_no_copy_that_is_not_needed():
    """Pillow holds 4 bytes a pixel, and 1 of a grey picture."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", PEAK], env=environment, capture_output=True, text=True, check=True)
    stored, half_turn, quarter_turn, transparent, grey = map(float, done.stdout.split())
    assert stored < 5, "as it is stored"
    assert max(half_turn, quarter_turn, transparent) < 9, "the picture, and the one that is shown"
    assert grey < 6


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_pixels_of_a_decoded_picture_are_shared_and_travel_without_their_file(mode):
    image = Image.new(mode, (4, 3), (9, 8, 7, 255)[: len(mode)])
    assert (shown_pixels(image) is image) == (mode == "RGB")
    shown = decode(encoded(image, "PNG"))
    assert getattr(shown, "fp", None) is None, "the file is not kept in memory"
    assert pickle.loads(pickle.dumps(shown)).getpixel((1, 1)) == shown.getpixel((1, 1)) == (9, 8, 7)


def drawn(mode: str = "RGBA") -> Image.Image:
    """A black line on a transparent ground."""
    image = Image.new(mode, (40, 30), (0,) * len(mode))
    ImageDraw.Draw(image).line((5, 15, 35, 15), fill=(0,) * (len(mode) - 1) + (255,), width=3)
    return image


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF"])
def test_transparent_ground_is_white(kind):
    shown = decode(encoded(drawn(), kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert shown.mode == "RGB" and shown.getpixel((1, 1)) == WHITE and shown.getpixel((20, 15)) == BLACK


@pytest.mark.parametrize("mode", ["LA", "RGBa", "La", "P"])
def test_every_mode_with_transparency_is_composited_on_white(mode):
    image = drawn("LA" if mode in ("LA", "La") else "RGBA")
    shown = shown_pixels(image.quantize() if mode == "P" else image.convert(mode))
    assert shown.getpixel((1, 1)) == WHITE and shown.getpixel((20, 15)) == BLACK


def test_palette_with_alpha_is_composited_on_white():
    image = Image.new("PA", (2, 1))
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putpixel((0, 0), (0, 0))
    image.putpixel((1, 0), (1, 255))
    shown = shown_pixels(image)
    assert (shown.getpixel((0, 0)), shown.getpixel((1, 0))) == (WHITE, (10, 20, 30))


def test_half_transparent_pixels_are_those_of_stock_verl():
    noise = Image.frombytes("RGBA", (64, 64), random.Random(0).randbytes(64 * 64 * 4))
    assert shown_pixels(noise).tobytes() == to_rgb(noise).tobytes()


@pytest.mark.parametrize(
    ("bits", "colour", "content", "key", "second"),
    [
        (1, 0, b"\x40", struct.pack(">H", 0), WHITE),
        (2, 0, b"\x60", struct.pack(">H", 1), (170,) * 3),
        (4, 0, b"\x59", struct.pack(">H", 5), (153,) * 3),
        (8, 0, b"\x05\x09", struct.pack(">H", 5), (9,) * 3),
        (16, 0, struct.pack(">HH", 0x102, 0x8000), struct.pack(">H", 0x102), (128,) * 3),
        (8, 2, bytes((1, 2, 3, 9, 9, 9)), struct.pack(">HHH", 1, 2, 3), (9,) * 3),
        (16, 2, struct.pack(">6H", 0x102, 0x304, 0x506, 0, 0, 0), struct.pack(">HHH", 0x102, 0x304, 0x506), BLACK),
        (8, 3, b"\0\1", b"\0", (10, 20, 30)),
        (8, 4, bytes((0, 0, 0, 255)), b"", BLACK),
        (16, 4, struct.pack(">4H", 0, 0, 0, 65535), b"", BLACK),
        (16, 6, struct.pack(">8H", 0, 0, 0, 0, 0, 0, 0, 65535), b"", BLACK),
    ],
)
def test_first_pixel_of_every_kind_of_png_is_transparent_and_so_white(bits, colour, content, key, second):
    palette = bytes((0, 0, 0, 10, 20, 30)) if colour == 3 else b""
    assert pixels(png(bits, colour, content, key, palette)) == [WHITE, second]


def test_16_bits_of_grey_keep_their_levels():
    assert pixels(png(16, 0, struct.pack(">HH", 0x4000, 0xFFFF))) == [(64,) * 3, WHITE]


@pytest.mark.parametrize(
    ("mode", "values", "levels"),
    [
        ("F", (0.0, 0.5), (0, 128)),
        ("F", (0.0, 200.0), (0, 200)),
        ("F", (-1.0, 3.0), (0, 255)),
        ("F", (float("nan"), 1.0), (0, 255)),
        ("F", (float("inf"), 1.0), (0, 255)),
        ("F", (float("nan"), float("nan")), (0, 0)),
        ("F", (-2.0, -2.0), (0, 0)),
        ("I", (0, 200), (0, 200)),
        ("I", (0, 65535), (0, 255)),
        ("I", (1_000_000, 3_000_000), (0, 255)),
    ],
)
def test_32_bits_of_grey_are_scaled_by_the_smallest_usual_range(mode, values, levels):
    image = Image.new(mode, (2, 1))
    image.putdata(values)
    assert [pixel[0] for pixel in np.asarray(shown_pixels(image))[0].tolist()] == list(levels)


def test_other_modes_become_rgb():
    for mode in ("1", "L", "CMYK", "YCbCr", "HSV", "LAB", "RGBX"):
        assert shown_pixels(Image.new(mode, (3, 2))).mode == "RGB"
    cmyk = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    red, green, blue = decode(cmyk).getpixel((4, 4))
    assert red > 200 and max(green, blue) < 60


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation_is_shown(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    red, _, blue = decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:])).getpixel((4, 4))
    assert red > 200 and blue < 60


@pytest.mark.parametrize("value", range(1, 9))
def test_picture_is_turned_upright_as_pillow_does(value):
    image = Image.frombytes("RGB", (40, 24), random.Random(1).randbytes(40 * 24 * 3))
    data = Image.Exif()
    data[0x112] = value
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        content = encoded(image, kind, exif=data)
        with Image.open(io.BytesIO(content)) as opened:
            assert decode(content).tobytes() == ImageOps.exif_transpose(opened).convert("RGB").tobytes()


def test_picture_with_broken_metadata_is_shown_upright():
    with Image.open(io.BytesIO(BROKEN_EXIF_JPEG)) as image, pytest.raises(AttributeError):
        ImageOps.exif_transpose(image)
    contents = [BROKEN_EXIF_JPEG] + ([SAMPLE.read_bytes()] if SAMPLE.is_file() else [])
    assert [decode(content).size for content in contents] == [UPRIGHT_SIZE] * len(contents)


def test_picture_whose_metadata_stop_pillow_is_shown_upright():
    """A resolution without denominator: Pillow reads it when it opens the file, and calls the file no image."""
    content = jpeg_with_exif(exif([(0x11A, 3, 0, bytes(4)), (0x128, 3, 1, bytes(4)), orientation(6)]))
    assert decode(content).size == UPRIGHT_SIZE


def test_no_metadata_lose_a_picture():
    rng = random.Random(0)
    for number in range(4000):
        data = random_exif(rng) if number % 4 else rng.randbytes(rng.randrange(120))
        assert set(decode(jpeg_with_exif(data, (16, 8))).size) == {16, 8}


def test_no_metadata_lose_a_picture_of_another_kind():
    rng = random.Random(1)
    image = Image.new("RGB", (16, 8), "red")
    for _ in range(500):
        data = random_exif(rng)
        for kind in ("PNG", "WEBP"):
            assert set(decode(encoded(image, kind, exif=data)).size) == {16, 8}


def test_damaged_file_is_shown_or_unreadable():
    rng = random.Random(2)
    image = Image.frombytes("RGB", (32, 32), rng.randbytes(32 * 32 * 3))
    shown = 0
    for kind in ("PNG", "WEBP", "GIF", "JPEG", "BMP", "TIFF"):
        whole = encoded(image, kind)
        for _ in range(150):
            content = bytearray(whole[: rng.choice((len(whole), rng.randrange(len(whole))))])
            for _ in range(rng.randrange(4)):
                content[rng.randrange(len(content))] = rng.randrange(256) if content else 0
            try:
                shown += decode(bytes(content)).mode == "RGB"
            except UnreadableImage as error:
                assert 0 < len(str(error)) <= 200 and " at 0x" not in str(error)
    assert shown > 50


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is empty"),
        (b"no image", "it is not an image in a format that Pillow can read"),
        (encoded(Image.new("RGB", (64, 64)), "JPEG")[:-20], "image file is truncated"),
        (encoded(Image.new("RGB", (64, 64)), "JPEG")[:300], "Truncated File Read"),
        (
            png(8, 2, bytes(6)).replace(struct.pack(">II", 2, 1), struct.pack(">II", 50_000, 50_000)),
            "it is not an image",
        ),
    ],
)
def test_broken_content_is_unreadable_with_a_sentence(content, sentence):
    with pytest.raises(UnreadableImage, match=sentence):
        decode(content)


def test_decompression_bomb_is_unreadable(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    content = encoded(Image.new("RGB", (15, 15)))
    with pytest.raises(UnreadableImage, match="decompression bomb"):
        decode(content)


def test_image_without_pixels_is_unreadable():
    with pytest.raises(UnreadableImage, match="no pixels"):
        shown_pixels(Image.new("RGB", (0, 4)))


def test_path_that_is_no_readable_file_is_unreadable(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"x")
    secret.chmod(0)
    cases = {
        tmp_path: "not a file",
        tmp_path / "pipe": "not a file",
        tmp_path / "no.png": "No such file",
        "a\0b": "null",
    }
    if os.geteuid():
        cases[secret] = "Permission denied"
    for path, sentence in [*cases.items(), ("x" * 5000, "too long"), ("\ud83d.png", "surrogates")]:
        with pytest.raises(UnreadableImage, match=sentence) as error:
            read_file(path)
        assert len(str(error.value)) <= 200
