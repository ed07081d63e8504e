# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Loading of the images of a data row, and the size at which a model's processor sees an image."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from PIL import Image, ImageOps
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from verl_mapo.tools.coordinates import Size
from verl_mapo.tools.image_history import Resize, ToolImage, full_view

PROCESSOR_MAX_ASPECT = 200
"""Ratio of sides above which the Qwen processors refuse an image."""


class UnreadableImage(ValueError):
    """An image of a data row cannot be shown to the model: it is missing, broken or too thin."""


def image_token_side(image_processor: Any) -> int:
    """Pixels along one image token: 28 for Qwen2.5-VL, 32 for Qwen3-VL."""
    return image_processor.patch_size * image_processor.merge_size


def pixel_limits(image_processor: Any, processor_kwargs: dict[str, Any], cap: int | None) -> tuple[int, int]:
    """Smallest and largest number of pixels at which the model sees an image.

    Args:
        image_processor: the model's image processor; its limits are the defaults.
        processor_kwargs: verl's ``data.mm_processor_kwargs``; ``min_pixels`` and ``max_pixels`` replace the defaults.
        cap: an upper limit that the run sets; None for no such limit.
    """
    fewest = processor_kwargs.get("min_pixels", image_processor.size["shortest_edge"])
    most = processor_kwargs.get("max_pixels", image_processor.size["longest_edge"])
    return fewest, min(most, cap) if cap else most


@dataclass(frozen=True)
class ProcessorResize:
    """The resize of a Qwen processor as a function of the size, repeated until the size no longer changes.

    One repetition is enough, except for images so thin that the processor's limits contradict each other. Objects with
    equal fields are equal and have the same hash, so that :class:`ImageStore` can use them in its keys.

    Attributes:
        factor: pixels along one image token.
        limits: smallest and largest number of pixels, see :func:`pixel_limits`.
    """

    factor: int
    limits: tuple[int, int]

    def __call__(self, size: Size) -> Size:
        height, width = smart_resize(size[1], size[0], self.factor, *self.limits)
        return size if (width, height) == size else self((width, height))


def thumbnail(image: Image.Image, side: int) -> bytes:
    """JPEG bytes of an image, its longest side at most ``side`` pixels."""
    small = image
    if max(image.size) > side:
        scale = side / max(image.size)
        small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


class ImageStore:
    """The originals of running rollouts, decoded and resized once for all rollouts of a prompt in a process.

    An image is kept only as long as a rollout uses it.
    """

    def __init__(self) -> None:
        self._images: WeakValueDictionary[tuple, ToolImage] = WeakValueDictionary()
        self._pending: dict[tuple, asyncio.Future[ToolImage]] = {}

    async def open(self, reference: str | Image.Image, index: int, resize: Resize) -> ToolImage:
        """The full view of an image of a data row.

        Args:
            reference: a path, or a decoded image where the data holds bytes.
            index: index of the image in its row.
            resize: the processor's resize of an original; hashable.

        Raises:
            UnreadableImage: the image cannot be shown.
        """
        key = (reference if isinstance(reference, str) else id(reference), index, resize)
        image = self._images.get(key)
        if image is None:
            pending = self._pending.get(key)
            if pending is None:
                pending = asyncio.ensure_future(asyncio.to_thread(_open, reference, index, resize))
                pending.add_done_callback(partial(self._forget, key))
                self._pending[key] = pending
            image = self._images[key] = await pending
        return image

    def _forget(self, key: tuple, _: asyncio.Future[ToolImage]) -> None:
        del self._pending[key]


def _open(reference: str | Image.Image, index: int, resize: Resize) -> ToolImage:
    try:
        image = Image.open(reference.removeprefix("file://")) if isinstance(reference, str) else reference
        image = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{reference}: {error}") from error
    if max(image.size) / min(image.size) > PROCESSOR_MAX_ASPECT:
        raise UnreadableImage(
            f"{reference}: the sides of {image.width} x {image.height} pixels have a ratio over {PROCESSOR_MAX_ASPECT}"
        )
    return full_view(image, index, resize)
