# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Whether an image file has its end, told from its structure without decoding a pixel."""

from __future__ import annotations

import struct
from typing import BinaryIO

_TAIL = 64
"""Bytes at the end of a JPEG in which its end marker is looked for; padding may follow it."""

_METADATA = {b"eXIf", b"iTXt", b"tEXt", b"zTXt"}
"""Chunks of a PNG that may tell its orientation; Pillow reads those behind the pixels only when it decodes them."""

_BEGINNINGS = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"GIF8": "gif", b"RIFF": "webp", b"BM": "bmp"}


def is_whole(file: BinaryIO, length: int, kind: str) -> bool:
    """Whether the file surely was not cut short; False where only decoding can tell.

    A JPEG ends with its end marker, which cannot occur in its coded pixels; a PNG's chunks lead to ``IEND``; a WebP is
    as long as its head says; a GIF ends with its trailer.

    Args:
        file: an image file that Pillow has opened; its position is moved.
        length: its length in bytes.
        kind: its format as Pillow names it.
    """
    if kind in ("JPEG", "MPO"):
        return b"\xff\xd9" in _tail(file, length)
    if kind == "GIF":
        return _tail(file, length).rstrip(b"\0").endswith(b"\x3b")
    if kind == "WEBP":
        file.seek(4)
        return struct.unpack("<I", file.read(4))[0] + 8 <= length
    return kind == "PNG" and _png_is_whole(file, length)


def _tail(file: BinaryIO, length: int) -> bytes:
    file.seek(max(length - _TAIL, 0))
    return file.read(_TAIL)


def _png_is_whole(file: BinaryIO, length: int) -> bool:
    place, pixels = 8, False
    while place + 12 <= length:
        file.seek(place)
        size, kind = struct.unpack(">I4s", file.read(8))
        if kind == b"IEND":
            return pixels
        if pixels and kind in _METADATA:
            return False
        pixels = pixels or kind == b"IDAT"
        place += size + 12
    return False


def file_ending(data: bytes) -> str:
    """The usual ending of an image file's name, such as ``jpg``, from its first bytes; ``img`` for rare formats."""
    return next((ending for beginning, ending in _BEGINNINGS.items() if data.startswith(beginning)), "img")
