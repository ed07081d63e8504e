# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The images of a conversion: files of the source are checked in place, bytes are written once by content hash.

No pixel is decoded where the file's structure tells that it is complete: a JPEG, PNG, WebP or GIF that has its head and
its end has not been cut short. What is damaged between them is found when the run decodes the image. Every other file
is decoded.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from verl_mapo.data.image_structure import file_ending, is_whole
from verl_mapo.data.reasons import LeftOut
from verl_mapo.rollout.decode import UnreadableImage, decode, orientation
from verl_mapo.rollout.row_pictures import PROCESSOR_MAX_ASPECT, embedded_bytes, source_of
from verl_mapo.tools.coordinates import Size

_REMEMBERED = 100_000
"""Number of files whose size is remembered, for sets that ask several questions about an image."""

_URL = re.compile(r"[A-Za-z][\w+.-]*://")

_SIDEWAYS = (5, 6, 7, 8)
"""EXIF's orientations that exchange width and height."""

_TURNING = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}
"""What a PNG's head has where it may be turned; Pillow decodes the whole PNG before it tells that there is nothing."""


@dataclass(frozen=True)
class Picture:
    """An image of a row that was checked.

    Attributes:
        path: absolute path of the file.
        width, height: sides in pixels, after the image is turned upright by its EXIF orientation.
    """

    path: Path
    width: int
    height: int

    def as_image(self) -> dict[str, str]:
        """The entry of a row's ``images``."""
        return {"image": f"file://{self.path}"}


class Pictures:
    """The images of one conversion.

    Args:
        source: the folder of the published set.
        out: the folder of the conversion; bytes are written to ``out/images``.
    """

    def __init__(self, source: Path, out: Path):
        self.source = source.resolve()
        self.folder = out.resolve() / "images"
        self._size_at = lru_cache(_REMEMBERED)(_size_at)

    def at(self, path: Path | str) -> Picture:
        """An image that is a file of the source. It is not copied, so it must stay where it is.

        Args:
            path: an absolute path, one relative to the source, or a ``file://`` URL.

        Raises:
            LeftOut: ``missing_image``, ``broken_image`` or ``thin_image``.
        """
        if isinstance(path, str):
            path = path.removeprefix("file://")
            if not path:
                raise LeftOut("missing_image", "the image is an empty text")
            if _URL.match(path):
                raise LeftOut("missing_image", f"{path} is no local file: download the images, and give their paths")
        path = self.source / path
        return Picture(path, *self._size_at(path))

    def of(self, value: Any) -> Picture:
        """An image in any form in which sets publish one.

        Args:
            value: a path or ``file://`` URL, a data URI, base64, bytes, or a dict with one of these under ``bytes``,
                ``image`` or ``path``, as ``datasets`` writes images.

        Raises:
            LeftOut: ``missing_image``, ``broken_image``, ``thin_image``; ``malformed``, the value is none of these.
        """
        source = source_of(value) if isinstance(value, Mapping) else value
        if source is None:
            raise LeftOut("missing_image", "the image is empty")
        if isinstance(source, bytes):
            return self.of_bytes(source)
        if not isinstance(source, str):
            raise LeftOut("malformed", f"the image is {type(source).__name__}, neither path nor bytes")
        try:
            content = embedded_bytes(source)
        except ValueError as error:
            raise LeftOut("broken_image", f"its data URI is damaged: {error}") from None
        return self.at(source) if content is None else self.of_bytes(content)

    def of_bytes(self, data: bytes) -> Picture:
        """An image that the source holds as bytes. Equal bytes are one file, whose name is their hash.

        Raises:
            LeftOut: ``missing_image`` where there are no bytes; ``broken_image`` or ``thin_image``.
        """
        if not data:
            raise LeftOut("missing_image", "the image has no bytes")
        name = hashlib.sha256(data).hexdigest()[:40]
        size = _checked(io.BytesIO(data), len(data), f"the image {name}")
        path = self.folder / name[:2] / f"{name}.{file_ending(data)}"
        if not (path.exists() and path.stat().st_size == len(data)):
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            draft.write_bytes(data)
            draft.replace(path)
        return Picture(path, *size)


def _size_at(path: Path) -> Size:
    try:
        with path.open("rb") as file:
            return _checked(file, os.fstat(file.fileno()).st_size, str(path))
    except (FileNotFoundError, NotADirectoryError):
        raise LeftOut("missing_image", f"{path} does not exist") from None
    except OSError as error:
        raise LeftOut("broken_image", f"{path}: {error.strerror}") from None


def _checked(file: BinaryIO, length: int, name: str) -> Size:
    """The upright (width, height) of an image file in pixels.

    Raises:
        LeftOut: the file is no image, is cut short, or is too thin.
    """
    try:
        size = _size_by_structure(file, length) or _decoded_size(file)
    except UnreadableImage as error:
        raise LeftOut("broken_image", f"{name}: {error}") from None
    if max(size) > PROCESSOR_MAX_ASPECT * min(size):
        raise LeftOut("thin_image", f"{name} has {size[0]} x {size[1]} pixels")
    return size


def _size_by_structure(file: BinaryIO, length: int) -> Size | None:
    """The upright size of a file whose structure is complete; None where only decoding can tell."""
    try:
        with Image.open(file) as image:
            kind, size = image.format or "", image.size
            if not is_whole(file, length, kind):
                return None
            turned = not (kind == "PNG" and _TURNING.isdisjoint(image.info)) and orientation(image) in _SIDEWAYS
    except Exception:  # whatever the plugins of Pillow raise on damaged files; decoding tells what is wrong
        return None
    return (size[1], size[0]) if turned else size


def _decoded_size(file: BinaryIO) -> Size:
    file.seek(0)
    return decode(file.read()).size
