# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The pictures of a data row, in whatever form it holds them, and the sizes that it asks for.

Data sets name an image in many ways: by a path, a data URI, bytes, a decoded image, or a dict with one of these under
``image``, ``image_url``, ``bytes`` or ``path``. :class:`Picture` reads them all as verl and qwen_vl_utils do.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
from collections.abc import Mapping, Sized
from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Real
from threading import Lock
from typing import Any
from urllib.parse import unquote_to_bytes

from PIL import Image

from verl_mapo.rollout.decode import (
    UnreadableImage,
    decode,
    head_size,
    orientation,
    read_file,
    shown_pixels,
    unread_file,
)
from verl_mapo.rollout.smart_resize import smart_resize
from verl_mapo.tools.coordinates import Size

LONGEST_REFERENCE = 400
"""Number of characters up to which a path is kept whole in messages and records."""

SOURCE_KEYS = ("bytes", "image", "image_url", "url", "path")
"""Keys that hold an image, in the order in which they are read; verl, too, prefers ``bytes`` to ``image``."""

CONTENT = "sha256:"
"""Beginning of the reference of a picture that is known by its content."""

PROCESSOR_MAX_ASPECT = 200
"""Ratio of sides above which the Qwen processors refuse an image."""

_REMOTE = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_BARE_BASE64 = re.compile(
    r"(/9j/|iVBORw0KGgo|R0lGOD|UklGR|Qk|SUkq|TU0AK|AAAA[A-Za-z0-9+/]{2}Z0eX)[A-Za-z0-9+/\s]{40,}=*\s*"
)
"""Base64 without ``data:`` before it, which transformers takes for an image, too: the first bytes of JPEG, PNG, GIF,
WebP, BMP, TIFF and AVIF."""

_DATA_HEADER = re.compile(r"data:(?:[^,\"]|\"[^\"]*\")*?(?P<base64>;\s*base64\s*)?,", re.IGNORECASE)
"""What stands before the data of a data URI; a comma may stand in a quoted parameter (RFC 2397)."""

_PLAIN_ALPHABET = bytes.maketrans(b"-_", b"+/")
"""From the URL-safe alphabet of base64 (RFC 4648) to the plain one, of which Python drops what it does not know."""

_LEAST_TOKENS, _MOST_TOKENS = 4, 16384
"""qwen_vl_utils' limits, in image tokens, for an image that names one of them or none."""

_DECODING = Lock()

Source = str | bytes | Image.Image


@dataclass(frozen=True)
class AskedSize:
    """The size at which a row asks to show an image, with the keys and the meaning of qwen_vl_utils.

    Attributes:
        min_pixels: the image is enlarged to at least this many pixels; None for 4 image tokens.
        max_pixels: the image is shrunk to at most this many pixels; None for 16,384 image tokens.
        resized_height, resized_width: the size in pixels, rounded to whole image tokens; both are set, or neither. The
            two limits have no effect beside them.
    """

    min_pixels: int | None = None
    max_pixels: int | None = None
    resized_height: int | None = None
    resized_width: int | None = None

    @classmethod
    def of(cls, part: Mapping[str, Any]) -> AskedSize:
        """The size that a part of a message, or an entry of a row's images, asks for.

        Raises:
            UnreadableImage: a value is no number of pixels, or the values contradict each other.
        """
        asked = {key: part[key] for key in SIZE_KEYS if is_present(part.get(key))}
        for key, value in asked.items():
            if isinstance(value, bool) or not isinstance(value, Real) or value < 1 or value % 1:
                raise UnreadableImage(f"its {key} is {value!r:.40}, which is no number of pixels: use an integer")
            asked[key] = int(value)
        if ("resized_height" in asked) != ("resized_width" in asked):
            raise UnreadableImage("it has only one of resized_height and resized_width: give both or neither")
        size = cls(**asked)
        sides = sorted((size.resized_height or 1, size.resized_width or 1))
        if sides[1] > PROCESSOR_MAX_ASPECT * sides[0]:
            raise UnreadableImage(
                f"its resized sides {sides[1]} and {sides[0]} have a ratio over {PROCESSOR_MAX_ASPECT}"
            )
        if size.min_pixels and size.max_pixels and size.min_pixels > size.max_pixels:
            raise UnreadableImage(
                f"its min_pixels={size.min_pixels} is above its max_pixels={size.max_pixels}: give a smaller min_pixels"
            )
        return size

    def __call__(self, size: Size, token_side: int) -> Size:
        """The size that is asked for, before the processor's own resize.

        Args:
            size: (width, height) of the image; the ratio of its sides is at most 200.
            token_side: pixels along one image token.
        """
        if self == AskedSize():
            return size
        fewest, most = _LEAST_TOKENS * token_side**2, _MOST_TOKENS * token_side**2
        if self.resized_height:
            size = self.resized_width, self.resized_height
        else:
            fewest = self.min_pixels or min(fewest, self.max_pixels)
            most = self.max_pixels or max(most, self.min_pixels)
        height, width = smart_resize(size[1], size[0], token_side, fewest, most, least_side=token_side)
        return max(width, token_side), max(height, token_side)


SIZE_KEYS = tuple(field.name for field in fields(AskedSize))
"""Keys of a part of a message, or of an entry of a row's images, that ask for a size."""


@dataclass(frozen=True)
class Picture:
    """A picture of a data row.

    Attributes:
        source: a path, a ``file://`` URL, a data URI, the bytes of an image file, or a decoded image.
        asked: the size that the row asks for.
    """

    source: Source
    asked: AskedSize = AskedSize()

    @classmethod
    def of(cls, part: Mapping[str, Any]) -> Picture:
        """The picture of a part of a message, or of an entry of a row's images.

        Raises:
            UnreadableImage: the part names no picture, names it in a way that is not supported, or asks for a size that
                is not possible.
        """
        source = source_of(part)
        if source is None:
            raise UnreadableImage("an image of the row is empty: it has no path, no bytes and no data URI")
        check_source(source)
        try:
            return cls(source, AskedSize.of(part))
        except UnreadableImage as error:
            raise UnreadableImage(f"{cls(source).reference}: {error}") from None

    @cached_property
    def reference(self) -> str:
        """A short text that names the picture in records and messages: its path, or else a hash of its content."""
        if isinstance(self.source, Image.Image):
            return image_reference(self.source)
        if isinstance(self.source, bytes):
            return content_reference(self.source)
        try:
            content = embedded_bytes(self.source)
        except ValueError:
            return content_reference(_encoded(self.source))
        return shorten(self.source) if content is None else content_reference(content)

    def content(self) -> bytes | None:
        """The bytes of an image file that shows the picture; None for a picture that has a path.

        A decoded image becomes a PNG of the pixels that the model is shown, unless its file has not been read yet.

        Raises:
            UnreadableImage: the picture is broken.
        """
        if isinstance(self.source, bytes):
            return self.source
        if isinstance(self.source, Image.Image):
            with _DECODING:  # Pillow reads an opened file at its first use, which two threads must not do at once
                content = unread_file(self.source)
                return _png(shown_pixels(self.source)) if content is None else content
        try:
            return embedded_bytes(self.source)
        except ValueError as error:
            raise UnreadableImage(f"its data URI is damaged: {error}") from None

    def stored_size(self) -> Size:
        """The two sides of the picture in pixels, before it is turned upright, read from the head of its file.

        Raises:
            UnreadableImage: the picture is missing, or its head is broken.
        """
        if isinstance(self.source, Image.Image):
            return self.source.size
        check_source(self.source)
        content = self.content()
        return head_size(self.source.removeprefix("file://") if content is None else content)

    def pixels(self) -> Image.Image:
        """The pixels, decoded as :func:`verl_mapo.rollout.decode.shown_pixels` says.

        Raises:
            UnreadableImage: the picture is missing or broken.
        """
        if isinstance(self.source, Image.Image):
            with _DECODING:
                content = unread_file(self.source)
                return shown_pixels(self.source) if content is None else decode(content)
        check_source(self.source)
        content = self.content()
        return decode(read_file(self.source.removeprefix("file://")) if content is None else content)


def source_of(part: Mapping[str, Any]) -> Any:
    """What a part, or an entry of a row's images, holds as its image; None if nothing.

    Empty keys are passed over, and a dict inside (``{"image_url": {"url": ...}}``) is searched in the same way.
    """
    for key in SOURCE_KEYS:
        value = part.get(key)
        if isinstance(value, Mapping):
            value = source_of(value)
        if isinstance(value, bytearray | memoryview):
            value = bytes(value)
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if is_filled(value):
            return value
    return None


def unread_keys(part: Mapping[str, Any]) -> list[str]:
    """The filled keys of a part of a message, or of an entry of a row's images, that holds neither text nor picture."""
    return [key for key, value in part.items() if key not in ("type", *SIZE_KEYS) and is_filled(value)]


def check_source(source: Any) -> None:
    """Refuse what can be no picture, without opening anything.

    Raises:
        UnreadableImage: the source is neither text nor bytes nor a decoded image, or a URL other than ``file://``.
    """
    if not isinstance(source, Source):
        raise UnreadableImage(f"an image of the row is given as {type(source).__name__}: give a path or bytes")
    if isinstance(source, str) and _REMOTE.match(source):
        raise UnreadableImage(
            f"the picture {shorten(source)} is on a server, and a run downloads nothing: store it as a file, and give "
            "its path"
        )


def embedded_bytes(source: str) -> bytes | None:
    """The bytes in a data URI or in bare base64; None for a text that is neither.

    Raises:
        ValueError: the data URI is damaged.
    """
    if source[:5].lower() != "data:":
        return base64.b64decode(source) if _BARE_BASE64.fullmatch(source) else None
    header = _DATA_HEADER.match(source)
    if header is None:
        raise ValueError("it has no comma before its data")
    content = unquote_to_bytes(source[header.end() :])
    return base64.b64decode(content.translate(_PLAIN_ALPHABET)) if header["base64"] else content


def content_reference(content: bytes) -> str:
    """A reference for a picture that is no file: equal for equal bytes, different for different ones."""
    return f"{CONTENT}{hashlib.sha256(content).hexdigest()[:32]}"


def image_reference(image: Image.Image) -> str:
    """A reference for a decoded image: equal for equal pixels, colours, transparency and orientation.

    It does not depend on whether Pillow has read the image's file yet, and leaves the image as it is. Where the file
    has no readable pixels, it is that of the file's content.
    """
    with _DECODING:
        content = unread_file(image)
        try:
            image = image if content is None else Image.open(io.BytesIO(content))
            pixels = image.tobytes()
            facts = image.mode, image.size, image.getpalette(None), image.info.get("transparency"), orientation(image)
        except Exception as error:  # whatever the decoders of Pillow raise on damaged pixels
            return f"undecodable {type(error).__name__}" if content is None else content_reference(content)
    return content_reference(repr(facts).encode() + pixels)


def shorten(text: str, longest: int = LONGEST_REFERENCE) -> str:
    """A text of bounded length: itself, or its beginning with its length and a hash that tells it from others."""
    if len(text) <= longest:
        return text
    return f"{text[:60]}... ({len(text)} characters, {content_reference(_encoded(text))})"


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def is_present(value: Any) -> bool:
    """Whether a key of a row is present: Arrow fills a missing key with None, and pandas a missing number with NaN."""
    return value is not None and not (isinstance(value, float) and value != value)


def is_filled(value: Any) -> bool:
    """Whether a value of a row holds anything: it is present, and no empty text or bytes.

    A dict or a list holds something if one of its values does: Arrow fills the keys of a missing struct, too.
    """
    if isinstance(value, Mapping):
        return any(map(is_filled, value.values()))
    if isinstance(value, list | tuple):
        return any(map(is_filled, value))
    return is_present(value) and not (isinstance(value, Sized) and len(value) == 0)
