# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Hashes of the images of a converted set or of a folder: of their bytes, and of what they show."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image
from tqdm import tqdm

from verl_mapo.data.read_rows import read_rows
from verl_mapo.data.reasons import LeftOut
from verl_mapo.rollout.decode import UnreadableImage, decode, read_file
from verl_mapo.settings import ConfigError

_DRAFT_SIDE = 128
"""Sides in pixels to which a JPEG is shrunk while it is decoded; the hash looks at 32 x 32."""

_FLAT = 3.0
"""Standard deviation of grey levels, of 255, below which an image has no perceptual hash: it would be noise [ours]."""


@dataclass(frozen=True)
class HashedImage:
    """An image file with its hashes.

    Attributes:
        path: the file.
        rows: names of the rows that have it, in order; empty for a plain folder.
        content: SHA-256 of its bytes, hexadecimal.
        seen: perceptual hash (pHash, 64 bits) of the upright image; None for an image of one colour.
    """

    path: Path
    rows: tuple[str, ...]
    content: str
    seen: int | None


@dataclass
class Hashes:
    """The images of a place.

    Attributes:
        place: the folder or file.
        has_rows: whether it is a converted set, and no plain folder.
        images: those that can be read, each file once.
        rows: number of rows that were read; 0 for a plain folder.
        faults: number of rows or files that could not be read, by reason.
        named: the first of these, by reason.
    """

    place: Path
    has_rows: bool
    images: list[HashedImage] = field(default_factory=list)
    rows: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    named: dict[str, str] = field(default_factory=dict)

    def leave_out(self, left: LeftOut) -> None:
        """Count and name what cannot be read."""
        self.faults[left.reason] += left.examples
        self.named.setdefault(left.reason, left.detail)


def hashes_of(place: Path) -> Hashes:
    """Hash all images of a place, with all processors.

    Args:
        place: a folder with ``.parquet`` files or one such file, whose rows name the images; or a folder without, in
            which all image files at any depth are hashed.

    Raises:
        ConfigError: there are neither rows nor images.
    """
    found = Hashes(place, has_rows=place.is_file() or any(place.glob("[!.]*.parquet")))
    files = _files_of_rows(place, found) if found.has_rows else _files_in(place)
    if not files and not found.faults:
        raise ConfigError(f"{place} holds no .parquet file with rows and no image: give a folder that has some.")
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        hashed = threads.map(lambda pair: _hashed(*pair), files.items())
        for image in tqdm(hashed, desc=f"images of {place.name}", unit="image", total=len(files)):
            found.leave_out(image) if isinstance(image, LeftOut) else found.images.append(image)
    return found


def perceptual_hash(image: Image.Image) -> int | None:
    """The pHash of an image as 64 bits; None for an image of nearly one colour.

    Args:
        image: upright, on white (:func:`verl_mapo.rollout.decode.shown_pixels`).
    """
    small = image.convert("L").resize((32, 32), Image.Resampling.BOX)
    if np.asarray(small, dtype=np.float64).std() < _FLAT:
        return None
    return int.from_bytes(np.packbits(imagehash.phash(image).hash).tobytes(), "big")


def _files_of_rows(place: Path, found: Hashes) -> dict[Path, Iterable[str]]:
    files: dict[Path, list[str]] = {}
    for row in read_rows(place):
        if isinstance(row, LeftOut):
            found.leave_out(row)
            continue
        found.rows += 1
        for picture, _ in row.images:
            files.setdefault(picture.path, []).append(f"row {row.number} ({row.id})")
    return files


def _files_in(folder: Path) -> dict[Path, Iterable[str]]:
    endings = Image.registered_extensions()
    return {file: () for file in sorted(folder.rglob("[!.]*")) if file.suffix.lower() in endings}


def _hashed(path: Path, rows: Iterable[str]) -> HashedImage | LeftOut:
    try:
        content = read_file(path)
        seen = perceptual_hash(decode(content, draft=_DRAFT_SIDE))
    except UnreadableImage as error:
        return LeftOut("broken_image", f"{path}: {error}")
    return HashedImage(path, tuple(rows), hashlib.sha256(content).hexdigest(), seen)
