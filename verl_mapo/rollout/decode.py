# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Decoding of a picture into the pixels that a model is shown: the first frame, upright, on white, 8 bits a channel.

Every reader of a data row's pictures uses these functions, so that a box, a recorded size and a drawing in the report
refer to the same pixels.
"""

from __future__ import annotations

import io
import os
import stat
from contextlib import suppress

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from verl_mapo.rollout.picture_metadata import exif_of_jpeg, without_metadata

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that undoes each value of EXIF's orientation; 1 and all other values need none."""

_RANGES = (1, 255, 65535)
"""Usual largest values of pictures whose mode does not tell theirs: floats from 0 to 1, and 8 and 16 bits."""

_KEY_SCALE = {"L;2": 85, "L;4": 17}
"""PNG's samples of 2 and 4 bits are stored as 8 bits; the sample that stands for transparent is not."""


class UnreadableImage(ValueError):
    """A data row cannot be shown to the model: an image is missing, broken or too thin, or the row holds a video."""


def read_file(path: str | os.PathLike) -> bytes:
    """The bytes of a file.

    Raises:
        UnreadableImage: there is no such file, it cannot be read, or it is a folder, a device or a pipe.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UnreadableImage("it is not a file")
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise _unreadable(error) from error


def decode(content: bytes, draft: int | None = None) -> Image.Image:
    """The picture in the bytes of an image file, see :func:`shown_pixels`.

    Args:
        content: the bytes of the file.
        draft: a JPEG may be decoded at a fraction of its size, with sides of at least so many pixels; None for its
            whole size.

    Raises:
        UnreadableImage: Pillow cannot read the bytes, or the picture has more than twice ``Image.MAX_IMAGE_PIXELS``
            pixels, where Pillow suspects an attack.
    """
    if not content:
        raise UnreadableImage("it is empty")
    try:
        return _decoded(_open(content), draft)
    except UnreadableImage as error:
        fault = error
    except Exception as error:  # whatever the plugins of Pillow raise on damaged files
        fault = _unreadable(error)
    if (bare := _open_bare(content)) is not None:
        with suppress(UnreadableImage):
            return _decoded(bare, draft)
    raise fault


def _decoded(image: Image.Image, draft: int | None) -> Image.Image:
    if draft is not None:
        image.draft(None, (draft, draft))
    return shown_pixels(image)


def head_size(source: bytes | str) -> tuple[int, int]:
    """The two sides in pixels that the head of an image file tells; its pixels are not read.

    Args:
        source: the bytes of the file, or its path.

    Raises:
        UnreadableImage: there is no such file, or Pillow cannot read its head.
    """
    try:
        with Image.open(source if isinstance(source, str) else io.BytesIO(source)) as image:
            return image.size
    except Exception:  # the whole file tells more: what is wrong, or that only its EXIF data are
        try:
            return _open(read_file(source) if isinstance(source, str) else source).size
        except Exception as error:
            raise _unreadable(error) from error


def shown_pixels(image: Image.Image) -> Image.Image:
    """The pixels of a picture as the model is shown them: RGB, upright, transparent parts on white.

    White is what qwen_vl_utils, and so verl's own agent loops, put behind transparent pixels. A colour profile is not
    applied. The picture is turned upright by its EXIF orientation, as ``datasets``, ``transformers`` and viewers do;
    metadata that cannot be read is ignored.

    A picture that is shown as it is stored is not copied: the pixels are those of ``image``. Pillow holds 4 bytes a
    pixel; turning a picture takes these twice for a moment, and transparency as well.

    Args:
        image: a picture of any mode; of an animation, the first frame is used.

    Raises:
        UnreadableImage: the pixels cannot be decoded, or there are none.
    """
    try:
        _correct_colour_key(image)
        image.load()
        turn = _UPRIGHT.get(orientation(image))
        shown = _on_white(image)
        shown = shown if turn is None else shown.transpose(turn)
    except Exception as error:  # whatever the decoders of Pillow raise on damaged pixels
        raise _unreadable(error) from error
    if not all(shown.size):
        raise UnreadableImage("it has no pixels")
    return shown


def unread_file(image: Image.Image) -> bytes | None:
    """The content of the file of an opened picture that Pillow has not read yet; None for any other picture.

    Pillow changes a picture when it reads the file, also where that fails; the content stays what it is.
    """
    file = getattr(image, "fp", None)
    if file is None or image.tell():
        return None
    try:
        place = file.tell()
        file.seek(0)
        content = file.read()
        file.seek(place)
    except (OSError, ValueError):  # the file is closed
        return None
    return content


def orientation(image: Image.Image) -> int | None:
    """The EXIF orientation of a picture, from 1 to 8; None if there is none, or it cannot be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
        return value if isinstance(value, int) else None
    except Exception:  # EXIF data hold anything, and Pillow raises nearly anything on it
        return None


def _unreadable(error: Exception) -> UnreadableImage:
    """The sentence for an error of the operating system or of Pillow; bounded, and without addresses of objects."""
    if isinstance(error, UnreadableImage):
        return error
    if isinstance(error, UnidentifiedImageError):
        return UnreadableImage("it is not an image in a format that Pillow can read")
    if isinstance(error, OSError):
        return UnreadableImage((error.strerror or str(error))[:200])
    return UnreadableImage(f"{type(error).__name__}: {error}"[:200])


def _open(content: bytes) -> Image.Image:
    """Open an image file, without its metadata if these stop Pillow."""
    try:
        return Image.open(io.BytesIO(content))
    except Exception:
        if (bare := _open_bare(content)) is None:
            raise
        return bare


def _open_bare(content: bytes) -> Image.Image | None:
    """Open an image file without its metadata, of which only the orientation is used; None if it cannot be opened."""
    bare = without_metadata(content)
    if bare is None or bare == content:
        return None
    try:
        image = Image.open(io.BytesIO(bare))
    except Exception:  # not the metadata are damaged
        return None
    if image.format == "JPEG" and (exif := exif_of_jpeg(content)):
        image.info["exif"] = exif
    return image


def _correct_colour_key(image: Image.Image) -> None:
    """Convert a PNG's transparent colour to the values that Pillow decodes the pixels to; Pillow does not."""
    key, tile = image.info.get("transparency"), getattr(image, "tile", None)
    if key is None or not tile:
        return
    raw = tile[0][3]
    if isinstance(key, int) and raw in _KEY_SCALE:
        image.info["transparency"] = key * _KEY_SCALE[raw]
    elif isinstance(key, tuple) and raw == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)


def _on_white(image: Image.Image) -> Image.Image:
    """A picture as RGB, its transparent parts white; the same arithmetic as in qwen_vl_utils.

    ``Image.convert`` copies a picture that has the mode already, 183 MiB of 48 megapixels.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _grey_levels(image).convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    layer = image if image.mode == "RGBA" else image.convert("RGBA")
    shown = Image.new("RGB", image.size, "white")
    shown.paste(layer, mask=layer)  # the alpha of the layer
    return shown


def _grey_levels(image: Image.Image) -> Image.Image:
    """A greyscale picture of 16 or 32 bits as one of 8 bits.

    16 bits run from black at 0 to white at 65535. The other modes do not tell their range: it is the smallest of 0 to 1
    (floats only), 0 to 255 and 0 to 65535 that holds all values, or else from the smallest value to the largest.
    Values that are not finite are black.
    """
    values = np.asarray(image, dtype=np.float32)
    finite = np.isfinite(values)
    known = values[finite]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    ranges = _RANGES[2:] if image.mode.startswith("I;16") else _RANGES[image.mode == "I" :]
    if (top := next((top for top in ranges if high <= top), None)) is not None and low >= 0:
        low, high = 0.0, float(top)
    levels = np.where(finite, (values - low) * (255 / (high - low or 1)), 0)
    grey = Image.fromarray(np.rint(levels).astype(np.uint8))
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey.paste(255, mask=Image.fromarray(values == key))
    return grey
