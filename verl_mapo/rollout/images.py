# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Opening the images of a data row, and the size at which a model's processor sees an image."""

from __future__ import annotations

import asyncio
import io
from functools import lru_cache, partial
from typing import Any
from weakref import WeakValueDictionary

from PIL import Image, ImageOps
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from verl_mapo.tools.image_history import Resize, ToolImage, whole

PROCESSOR_MAX_ASPECT = 200
"""Ratio of sides above which the Qwen processors refuse an image."""


class UnreadableImage(ValueError):
    """An image of the data cannot be shown to the model: missing, broken, or of impossible shape."""


def image_token_side(image_processor: Any) -> int:
    """Pixels along one image token: 28 for Qwen2.5-VL, 32 for Qwen3-VL."""
    return image_processor.patch_size * image_processor.merge_size


def pixel_limits(image_processor: Any, processor_kwargs: dict[str, Any], cap: int | None) -> tuple[int, int]:
    """Fewest and most pixels at which an image is seen: the processor's limits, or those of the run where tighter."""
    fewest = processor_kwargs.get("min_pixels", image_processor.size["shortest_edge"])
    most = processor_kwargs.get("max_pixels", image_processor.size["longest_edge"])
    return fewest, min(most, cap) if cap else most


@lru_cache(maxsize=64)
def resize_of(factor: int, limits: tuple[int, int]) -> Resize:
    """The processor's own resize as a function of the size, repeated until it changes nothing more.

    Once is enough but for images so thin that the processor's limits contradict each other. The same arguments give
    the same function, which lets rollouts share what it was applied to.
    """

    @lru_cache(maxsize=4096)
    def resize(size: tuple[int, int]) -> tuple[int, int]:
        height, width = smart_resize(size[1], size[0], factor, *limits)
        return size if (width, height) == size else resize((width, height))

    return resize


def thumbnail(crop: Image.Image, side: int) -> bytes:
    """JPEG bytes of a crop, its longest side at most ``side`` pixels: what travels to the scorer."""
    small = crop
    if max(crop.size) > side:
        scale = side / max(crop.size)
        small = crop.resize((max(1, round(crop.width * scale)), max(1, round(crop.height * scale))))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


class ImageStore:
    """Originals of the prompts in flight, decoded and resized once for all rollouts of a prompt in a process.

    Holds no image longer than some rollout does.
    """

    def __init__(self) -> None:
        self._sights: WeakValueDictionary[tuple, ToolImage] = WeakValueDictionary()
        self._pending: dict[tuple, asyncio.Future[ToolImage]] = {}

    async def open(self, reference: str | Image.Image, index: int, resize: Resize) -> ToolImage:
        """The sight of image ``index`` of a row, given as a path or (where data carries bytes) as a decoded image.

        Raises:
            UnreadableImage: there is nothing there that can be shown.
        """
        key = (reference if isinstance(reference, str) else id(reference), index, resize)
        sight = self._sights.get(key)
        if sight is None:
            pending = self._pending.get(key)
            if pending is None:
                pending = asyncio.ensure_future(asyncio.to_thread(_open, reference, index, resize))
                pending.add_done_callback(partial(self._settle, key))
                self._pending[key] = pending
            sight = self._sights[key] = await pending
        return sight

    def _settle(self, key: tuple, _: asyncio.Future[ToolImage]) -> None:
        del self._pending[key]


def _open(reference: str | Image.Image, index: int, resize: Resize) -> ToolImage:
    try:
        image = Image.open(reference.removeprefix("file://")) if isinstance(reference, str) else reference
        image = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"{reference}: {error}") from error
    if max(image.size) / min(image.size) > PROCESSOR_MAX_ASPECT:
        raise UnreadableImage(f"{reference}: sides of {image.width} x {image.height} pixels, ratio over 200")
    return whole(image, index, resize)
