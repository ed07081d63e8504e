# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures whose pixels are whole and whose metadata stop Pillow are shown."""

from __future__ import annotations

import random
import struct
import zlib

import pytest
from PIL import Image
from support.pictures import encoded, exif, jpeg_with_exif, orientation

from verl_mapo.rollout.decode import decode, head_size
from verl_mapo.rollout.picture_metadata import without_metadata

NOISE = Image.frombytes("RGB", (16, 8), random.Random(0).randbytes(16 * 8 * 3))
PNG, JPEG = encoded(NOISE, "PNG"), encoded(NOISE, "JPEG")
END = len(PNG) - 12
"""Where the last chunk of the PNG begins."""


def chunk(name: bytes, content: bytes, spoiled: int = 0) -> bytes:
    """A chunk of a PNG; ``spoiled`` changes its checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content) ^ spoiled)


def with_chunk(added: bytes, place: int = 33) -> bytes:
    return PNG[:place] + added + PNG[place:]


def with_segment(marker: int, content: bytes) -> bytes:
    return JPEG[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + JPEG[2:]


@pytest.mark.parametrize("place", [33, END])
@pytest.mark.parametrize(
    "added",
    [
        chunk(b"zTXt", b"prompt\0\0" + zlib.compress(b"x" * 2_000_000)),
        chunk(b"iCCP", b"profile\0\x07" + zlib.compress(b"x")),
        chunk(b"pHYs", b"\0"),
        chunk(b"cHRM", b""),
        chunk(b"acTL", b"\0"),
        chunk(b"fcTL", b"\0" * 9),
        chunk(b"tEXt", b"a\0b", spoiled=1),
        chunk(b"eXIf", b"II*\0", spoiled=1),
    ],
)
def test_png_is_shown_whatever_its_metadata_are(added, place):
    content = with_chunk(added, place)
    assert decode(content).tobytes() == NOISE.tobytes()
    assert head_size(content) == NOISE.size


def test_orientation_and_transparency_survive_the_loss_of_other_metadata():
    turned = with_chunk(chunk(b"pHYs", b"\0") + chunk(b"eXIf", exif([orientation(6)])))
    assert decode(turned).size == (8, 16)
    clear = encoded(Image.new("LA", (3, 3), (0, 0)))
    clear = clear[:33] + chunk(b"tIME", b"", spoiled=1) + clear[33:]
    assert decode(clear).getpixel((1, 1)) == (255, 255, 255)
    unreadable = jpeg_with_exif(exif([(0x11A, 3, 0, bytes(4)), (0x128, 3, 1, bytes(4)), orientation(6)]), (16, 8))
    assert decode(unreadable).size == (8, 16)


def test_no_segment_and_no_chunk_beside_the_pixels_loses_a_picture():
    rng = random.Random(3)
    heads = [
        b"",
        b"JFIF\0",
        b"http://ns.adobe.com/xap/1.0/\0",
        b"Photoshop 3.0\x008BIM",
        b"ICC_PROFILE\0\1\1",
        b"Adobe",
    ]
    names = b"tEXt zTXt iTXt iCCP tIME pHYs cHRM gAMA sRGB sBIT hIST sPLT bKGD acTL fcTL caBX".split()
    for _ in range(1500):
        rest = rng.randbytes(rng.choice((0, 1, 2, 5, 20, 60)))
        segment = with_segment(rng.choice((*range(0xE0, 0xF0), 0xFE)), rng.choice(heads) + rest)
        assert decode(segment).size == head_size(segment) == NOISE.size
        added = chunk(rng.choice(names), rng.choice((b"", b"a\0", b"a\0\0\0\0\0")) + rest, rng.choice((0, 0, 1)))
        assert decode(with_chunk(added, rng.choice((33, END)))).tobytes() == NOISE.tobytes()


def test_bare_file_is_made_of_any_bytes():
    rng = random.Random(4)
    for _ in range(500):
        for whole in (PNG, JPEG):
            cut = bytearray(whole[: rng.randrange(1, len(whole))])
            for _ in range(3):
                cut[rng.randrange(len(cut))] = rng.randrange(256)
            bare = without_metadata(bytes(cut))
            assert bare is None or len(bare) <= max(len(cut), 8)
    assert without_metadata(encoded(NOISE, "WEBP")) is without_metadata(b"") is None
