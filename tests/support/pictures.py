# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Image files as real data sets hold them: of every mode, with good and with broken metadata."""

from __future__ import annotations

import base64
import io
import random
import struct
import zlib
from typing import Any

from PIL import Image

UPRIGHT_SIZE = (28, 56)
"""Size of :data:`BROKEN_EXIF_JPEG` after its orientation, which is readable, has been applied."""


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file of this kind."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def data_uri(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def png(bits: int, colour: int, pixels: bytes, key: bytes = b"", palette: bytes = b"") -> bytes:
    """A PNG of 2 x 1 pixels.

    Args:
        bits: bits of one sample.
        colour: PNG's colour type.
        pixels: the two pixels.
        key: content of the chunk tRNS; empty for no such chunk.
        palette: content of the chunk PLTE; empty for no such chunk.
    """

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    optional = [chunk(name, content) for name, content in ((b"PLTE", palette), (b"tRNS", key)) if content]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, bits, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0" + pixels))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(optional) + data + chunk(b"IEND", b"")


def jpeg_with_exif(exif: bytes, size: tuple[int, int] = (56, 28)) -> bytes:
    """A JPEG whose EXIF segment holds these bytes."""
    plain = encoded(Image.new("RGB", size, "red"), "JPEG")
    content = b"Exif\0\0" + exif
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + plain[2:]


def exif(entries: list[tuple[int, int, int, bytes]], rest: bytes = b"", order: str = "<", start: int = 8) -> bytes:
    """EXIF data with one directory.

    Args:
        entries: tag, type, count and four bytes of value or offset of each.
        rest: the bytes after the directory.
        order: ``<`` or ``>``, the byte order.
        start: position at which the directory is said to begin.
    """
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", start)
    lines = b"".join(struct.pack(f"{order}HHL", *entry[:3]) + entry[3] for entry in entries)
    return header + struct.pack(f"{order}H", len(entries)) + lines + rest


def orientation(value: int, order: str = "<") -> tuple[int, int, int, bytes]:
    """The entry of EXIF's orientation."""
    return 0x112, 3, 1, struct.pack(f"{order}H", value) + b"\0\0"


BROKEN_EXIF_JPEG = jpeg_with_exif(exif([(0x10F, 5, 1, struct.pack("<L", 38)), orientation(6)], bytes(range(40))))
"""56 x 28 pixels, the maker's name a fraction: Pillow reads the orientation and cannot write the data back."""


def random_exif(rng: random.Random) -> bytes:
    """EXIF data of random entries, most of them with an orientation that has to be undone."""
    order = rng.choice("<>")
    tags = (0x10F, 0x110, 0x11A, 0x11B, 0x128, 0x132, 0x8769, 0x8825, 0xA005, rng.randrange(1 << 16))
    entries = [
        (rng.choice(tags), rng.randrange(14), rng.choice((0, 1, 2, rng.randrange(1 << 32))), rng.randbytes(4))
        for _ in range(rng.randrange(8))
    ]
    if rng.random() < 0.8:
        entries.insert(rng.randrange(len(entries) + 1), orientation(rng.randrange(10), order))
    start = 8 if rng.random() < 0.95 else rng.randrange(1 << 32)
    return exif(entries, rng.randbytes(rng.randrange(60)), order, start)
