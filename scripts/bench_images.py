# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Peak memory of opening a picture of 48 megapixels, beside the memory of its decoded pixels.

    python scripts/bench_images.py [--width 8000] [--height 6000]

Each line is measured in a process of its own, which has opened a small picture of the same kind before: the growth of
its largest resident memory (``VmHWM`` of Linux). *Before* is ``Image.convert``, which copies a picture that is RGB
already, and a copy of the transparent layer and of its alpha.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from verl_mapo.rollout.decode import decode

KINDS = {
    "JPEG": ("RGB", "JPEG", 1),
    "JPEG, turned by EXIF": ("RGB", "JPEG", 6),
    "PNG": ("RGB", "PNG", 1),
    "PNG with transparency": ("RGBA", "PNG", 1),
    "grey JPEG": ("L", "JPEG", 1),
}


def encoded(kind: str, size: tuple[int, int]) -> bytes:
    """The file of a picture that compresses as well as photographs do, or better."""
    mode, form, orientation = KINDS[kind]
    ramp = np.add.outer(np.arange(size[1], dtype=np.uint16), np.arange(size[0], dtype=np.uint16)).astype(np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    buffer = io.BytesIO()
    Image.fromarray(ramp).convert(mode).save(buffer, form, exif=exif.tobytes(), compress_level=1)
    return buffer.getvalue()


def before(content: bytes) -> Image.Image:
    """The same pixels as :func:`verl_mapo.rollout.decode.decode` makes, in the way in which it made them."""
    image = Image.open(io.BytesIO(content))
    image.load()
    if not image.has_transparency_data:
        shown = image.convert("RGB")
        return ImageOps.exif_transpose(shown)
    layer = image.convert("RGBA")
    shown = Image.new("RGB", image.size, "white")
    shown.paste(layer, mask=layer.getchannel("A"))
    return shown


def largest_resident() -> int:
    """The largest resident memory of this process so far, in bytes; unlike ``ru_maxrss``, without its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def peak(opened: Callable[[bytes], Image.Image], small: bytes, content: bytes) -> int:
    """Bytes by which the largest resident memory of this process grows while a picture is opened."""
    opened(small)
    least = largest_resident()
    opened(content)
    return largest_resident() - least


def measure(opened: Callable[[bytes], Image.Image], kind: str, size: tuple[int, int]) -> int:
    """:func:`peak` in a fresh process, without the file itself."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(peak, opened, encoded(kind, (64, 48)), encoded(kind, size)).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=8000)
    parser.add_argument("--height", type=int, default=6000)
    asked = parser.parse_args()
    size = asked.width, asked.height
    mega = size[0] * size[1] * 3 / 2**20
    print(f"| {size[0]} x {size[1]}, {mega:.0f} MiB of pixels | before, MiB | now, MiB | ratio |\n|---|---|---|---|")
    for kind in KINDS:
        old, new = (measure(opened, kind, size) for opened in (before, decode))
        print(f"| {kind} | {old / 2**20:.0f} | {new / 2**20:.0f} | **{new / old:.2f}** |", flush=True)


if __name__ == "__main__":
    main()
