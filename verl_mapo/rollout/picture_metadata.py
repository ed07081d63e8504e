# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Image files without their metadata, because damaged metadata stop Pillow from reading pixels that are whole.

Examples are a PNG whose comment is longer than Pillow's limit, or whose colour profile is not compressed as it should
be, and a JPEG whose resolution has no denominator.
"""

from __future__ import annotations

import struct
import zlib

EXIF = b"Exif\0\0"
"""Beginning of the EXIF data of a JPEG."""

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_OF_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
"""The chunks of a PNG that its first frame is made of."""

_START_OF_SCAN, _COMMENT, _ADOBE = 0xDA, 0xFE, 0xEE
_APPLICATION = range(0xE0, 0xF0)


def without_metadata(content: bytes) -> bytes | None:
    """An image file without all that its pixels do not depend on; None if it is no JPEG and no PNG.

    A PNG keeps its EXIF data where they are whole, because they may hold the orientation; those of a JPEG are left out.

    Args:
        content: the bytes of the file, which may be damaged anywhere.
    """
    if content.startswith(_PNG):
        return _bare_png(content)
    return _bare_jpeg(content) if content.startswith(_JPEG) else None


def exif_of_jpeg(content: bytes) -> bytes | None:
    """The EXIF data in the bytes of a JPEG file, which may be damaged; None without any."""
    start = content.find(EXIF)
    return None if start < 0 else content[start : start + 0xFFFF]


def _bare_png(content: bytes) -> bytes:
    kept, place = [_PNG], len(_PNG)
    while place + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        chunk = content[place : place + length + 12]
        if name in _OF_PIXELS or (name == b"eXIf" and _is_whole(chunk)):
            kept.append(chunk)
        place += length + 12
    return b"".join(kept)


def _is_whole(chunk: bytes) -> bool:
    """Whether the checksum of a PNG's chunk is right."""
    return chunk[-4:] == struct.pack(">I", zlib.crc32(chunk[4:-4]))


def _bare_jpeg(content: bytes) -> bytes:
    kept, place = [_JPEG], len(_JPEG)
    while content[place : place + 1] == b"\xff" and place + 4 <= len(content):
        marker, length = struct.unpack_from(">BH", content, place + 1)
        if marker == _START_OF_SCAN or length < 2:
            break
        of_pixels = marker not in _APPLICATION and marker != _COMMENT
        if of_pixels or (marker == _ADOBE and length >= 14):  # Adobe's tells how colours are coded
            kept.append(content[place : place + 2 + length])
        place += 2 + length
    return b"".join([*kept, content[place:]])
