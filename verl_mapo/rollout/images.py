# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Loading of the images of a data row, and the size at which a model's processor sees an image."""

from __future__ import annotations

import asyncio
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from heapq import merge
from typing import Any
from weakref import WeakValueDictionary

from omegaconf import OmegaConf
from PIL import Image

from verl_mapo.names import MM_PROCESSOR_KWARGS
from verl_mapo.rollout.decode import UnreadableImage
from verl_mapo.rollout.row_pictures import PROCESSOR_MAX_ASPECT, AskedSize, Picture, Source
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.rollout.smart_resize import smart_resize
from verl_mapo.settings import ConfigError, is_count
from verl_mapo.tools.coordinates import BoxError, Size
from verl_mapo.tools.image_history import Resize, ToolImage, full_view

_LARGEST_STRETCH = 2.1
"""Largest factor by which the limits of a run may change the ratio of an image's sides."""

_THINNEST = 20
"""Ratio of sides up to which that holds: the thinnest crop of the zoom tool, by default."""

_STEP = 1.2
"""Quotient of the ratios that are tried."""

MOST_PIXELS = 2 * Image.MAX_IMAGE_PIXELS
"""The largest number of pixels of a picture that Pillow decodes: 179 million."""

_NOT_READ = ("images_kwargs", "common_kwargs", "patch_size", "merge_size", "temporal_patch_size", "do_resize")
"""Arguments of the processor that change the size at which the model sees an image, and that are refused."""

SIZE_ARGUMENTS = ("size", "min_pixels", "max_pixels", *_NOT_READ)
"""Arguments of the processor that change the size at which the model sees an image."""


def image_token_side(image_processor: Any) -> int:
    """Pixels along one image token: 28 for Qwen2.5-VL, 32 for Qwen3-VL and Qwen3.5."""
    return image_processor.patch_size * image_processor.merge_size


def processor_kwargs(data: Any) -> dict[str, Any]:
    """verl's ``data.mm_processor_kwargs`` as plain types, because the processors refuse omegaconf's.

    Args:
        data: the node ``data`` of the configuration.

    Raises:
        ConfigError: it is no mapping.
    """
    node = data.get("mm_processor_kwargs")
    node = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if node is not None and not isinstance(node, Mapping):
        raise ConfigError(
            f"{MM_PROCESSOR_KWARGS}={node!r} is refused: it holds arguments by name, for example "
            f"{MM_PROCESSOR_KWARGS}.min_pixels=3136."
        )
    return dict(node or {})


def pixel_limits(image_processor: Any, processor_kwargs: Mapping[str, Any], cap: int | None) -> tuple[int, int]:
    """Smallest and largest number of pixels at which the model sees an image.

    Args:
        image_processor: the model's image processor; its limits are the defaults.
        processor_kwargs: verl's ``data.mm_processor_kwargs``: ``size`` replaces the defaults, and ``min_pixels`` and
            ``max_pixels`` replace both.
        cap: an upper limit that the run sets; None for no such limit.
    """
    size = processor_kwargs.get("size") or image_processor.size
    fewest = processor_kwargs.get("min_pixels") or size["shortest_edge"]
    most = processor_kwargs.get("max_pixels") or size["longest_edge"]
    return fewest, min(most, cap) if cap else most


@dataclass(frozen=True)
class ProcessorResize:
    """The resize of a Qwen processor as a function of the size, and the processor does not resize its result again.

    It is transformers' ``smart_resize`` (:mod:`verl_mapo.rollout.smart_resize`) wherever the result of that is inside
    the limits. Where rounding to whole image tokens leads out of them (thin images, narrow limits), it is the nearest
    size inside. Objects with equal fields are equal and have the same hash, so that :class:`ImageStore` can use them in
    its keys.

    Attributes:
        factor: pixels along one image token.
        limits: smallest and largest number of pixels, see :func:`pixel_limits`.
        asked: the size that the data row asks for, which is applied first.
    """

    factor: int
    limits: tuple[int, int]
    asked: AskedSize = AskedSize()

    def __call__(self, size: Size) -> Size:
        """The (width, height) at which the model sees an image.

        Raises:
            BoxError: the image is thinner than the processors allow.
            ConfigError: no size is inside the limits; :func:`processor_resizes` refuses such limits at start.
        """
        if too_thin(size):
            raise BoxError(f"the sides of {size[0]} x {size[1]} pixels have a ratio over {PROCESSOR_MAX_ASPECT}")
        size = self.asked(size, self.factor)
        if not too_thin(size):
            height, width = smart_resize(size[1], size[0], self.factor, *self.limits)
            if self.keeps((width, height)):
                return width, height
        return self.nearest(size)

    def keeps(self, size: Size) -> bool:
        """Whether the processor leaves an image of this (width, height) as it is, and the run allows it."""
        fewest, most = self.limits
        whole = all(side > 0 and side % self.factor == 0 for side in size)
        return whole and not too_thin(size) and fewest <= size[0] * size[1] <= most

    @property
    def tokens(self) -> tuple[int, int]:
        """Smallest and largest number of image tokens inside the limits."""
        return -(-self.limits[0] // self.factor**2), self.limits[1] // self.factor**2

    def nearest(self, size: Size) -> Size:
        """The size inside the limits whose sides differ least, in ratio, from those of the image scaled into them.

        Raises:
            ConfigError: no size is inside the limits.
        """
        short, long = sorted(size)
        fewest, most = self.limits
        scale = math.sqrt(min(max(short * long, fewest), most) / (short * long)) / self.factor
        grid = self._nearest_grid(short * scale, long * scale)
        if grid is None:
            raise ConfigError(
                f"No image has between {fewest} and {most} pixels in tokens of {self.factor} x {self.factor}."
            )
        sides = grid[0] * self.factor, grid[1] * self.factor
        return sides if size[0] <= size[1] else sides[::-1]

    def _nearest_grid(self, short: float, long: float) -> tuple[int, int] | None:
        """The numbers of tokens (short side, long side) inside the limits that differ least from two others.

        Short sides are tried outwards from ``short``, until none can be nearer than the one that was found.
        """
        fewest, most = self.tokens
        least, largest = max(math.isqrt(max(fewest - 1, 0) // PROCESSOR_MAX_ASPECT), 1), math.isqrt(max(most, 0))
        start = min(max(math.floor(short), least - 1), largest)
        distance = lambda side: math.log(side / short) ** 2
        nearest, difference = None, math.inf
        for side in merge(range(start, least - 1, -1), range(start + 1, largest + 1), key=distance):
            if distance(side) > difference:
                break
            bounds = max(side, -(-fewest // side)), min(most // side, PROCESSOR_MAX_ASPECT * side)
            for other in (math.floor(long), math.ceil(long)) if bounds[0] <= bounds[1] else ():
                other = min(max(other, bounds[0]), bounds[1])
                if (found := distance(side) + math.log(other / long) ** 2) < difference:
                    nearest, difference = (side, other), found
        return nearest


@cache
def fits_every_shape(resize: ProcessorResize) -> bool:
    """Whether the limits have a size for images of every shape: square, and up to a ratio of sides of 20.

    The size has to keep the ratio of sides up to a factor of about two.
    """
    if resize._nearest_grid(1.0, 1.0) is None:
        return False
    for step in range(math.ceil(math.log(min(_THINNEST, resize.tokens[1]), _STEP)) + 1):
        width, height = resize.nearest((round(1000 * _STEP**step), 1000))
        stretch = width / height / _STEP**step
        if not 1 / _LARGEST_STRETCH <= stretch <= _LARGEST_STRETCH:
            return False
    return True


def too_thin(size: Size) -> bool:
    """Whether the Qwen processors refuse an image of this size."""
    return max(size) > PROCESSOR_MAX_ASPECT * min(size)


def processor_resizes(
    settings: VisualToolSettings, image_processor: Any, kwargs: Mapping[str, Any]
) -> tuple[ProcessorResize, ProcessorResize]:
    """The resizes of a run: of originals, and of the images that tools return.

    Args:
        settings: ``max_image_pixels`` and ``max_crop_pixels`` are read.
        image_processor: the model's image processor.
        kwargs: verl's ``data.mm_processor_kwargs``, see :func:`processor_kwargs`.

    Raises:
        ConfigError: the limits contradict each other, or are of a kind that is not supported.
    """
    _check_kwargs(image_processor, kwargs)
    factor = image_token_side(image_processor)
    tokens = f"in whole tokens of {factor} x {factor} pixels"
    own = ProcessorResize(factor, pixel_limits(image_processor, kwargs, None))
    if own.limits[0] > MOST_PIXELS:
        raise ConfigError(
            f"{MM_PROCESSOR_KWARGS}, or else the model's preprocessor_config.json, enlarges every image to "
            f"{own.limits[0]} pixels, and no image may have more than {MOST_PIXELS}: set "
            f"{MM_PROCESSOR_KWARGS}.min_pixels to less, for example to 3136."
        )
    if not fits_every_shape(own):
        fewest, most = own.limits
        raise ConfigError(
            f"{MM_PROCESSOR_KWARGS}, or else the model's preprocessor_config.json, limits images to {fewest} to {most} "
            f"pixels, {tokens}, which leaves no size for some images: set {MM_PROCESSOR_KWARGS}.min_pixels={fewest} "
            f"and {MM_PROCESSOR_KWARGS}.max_pixels={_least_cap(own)}, or a larger max_pixels."
        )
    resizes = []
    for name in ("max_image_pixels", "max_crop_pixels"):
        cap = getattr(settings, name)
        resize = replace(own, limits=pixel_limits(image_processor, kwargs, cap))
        if not fits_every_shape(resize):
            raise ConfigError(
                f"{settings.NODE}.{name}={cap} is too small: the model's processor enlarges images to {own.limits[0]} "
                f"pixels or more, {tokens}. Set it to {_least_cap(resize)} or more, or to null. It counts pixels; "
                f"{cap} image tokens are {cap * factor**2} pixels."
            )
        resizes.append(resize)
    return resizes[0], resizes[1]


def _least_cap(resize: ProcessorResize) -> int:
    """The smallest upper limit, in pixels, with which the lower one can be used."""
    area = resize.factor**2
    tokens = max(resize.tokens[0], 1)
    while not fits_every_shape(replace(resize, limits=(resize.limits[0], tokens * area))):
        tokens += 1
    return tokens * area


def _check_kwargs(image_processor: Any, kwargs: Mapping[str, Any]) -> None:
    """Check that the processor has limits and will read those of the run."""
    keys = ("shortest_edge", "longest_edge")
    own = getattr(image_processor, "size", None) or {}
    if not all(key in own and own[key] for key in keys):
        raise ConfigError(
            f"The model's image processor {type(image_processor).__name__} has no size.shortest_edge and no "
            "size.longest_edge: the visual tools work with the image processor of Qwen2-VL, Qwen2.5-VL, Qwen3-VL and "
            "Qwen3.5."
        )
    counts = {f"size.{key}": own[key] for key in keys}
    counts |= {key: getattr(image_processor, key) for key in ("patch_size", "merge_size")}
    for key, value in counts.items():
        if not is_count(value):
            raise ConfigError(
                f"{key}={value!r} of the model's image processor is refused: in its preprocessor_config.json, write an "
                "integer of at least 1."
            )
    for key, value in kwargs.items():
        if value is None:
            raise ConfigError(
                f"{MM_PROCESSOR_KWARGS}.{key}=null is refused by the processor: leave it out; "
                f"'~{MM_PROCESSOR_KWARGS}.{key}' removes it from a recipe."
            )
    for key in _NOT_READ:
        if key in kwargs:
            raise ConfigError(
                f"{MM_PROCESSOR_KWARGS}.{key}={kwargs[key]} is not supported by the visual tools: leave it out; "
                f"{MM_PROCESSOR_KWARGS}.min_pixels and {MM_PROCESSOR_KWARGS}.max_pixels limit the size of images."
            )
    size = kwargs.get("size")
    example = f"{{shortest_edge: {own['shortest_edge']}, longest_edge: {own['longest_edge']}}}"
    if size is not None and (not isinstance(size, Mapping) or set(size) != set(keys)):
        raise ConfigError(
            f"{MM_PROCESSOR_KWARGS}.size={size} is refused: it needs both limits, in pixels, for example {example}."
        )
    given = {f"size.{key}": value for key, value in (size or {}).items()}
    given |= {key: kwargs[key] for key in ("min_pixels", "max_pixels") if key in kwargs}
    for key, value in given.items():
        if not is_count(value):
            raise ConfigError(
                f"{MM_PROCESSOR_KWARGS}.{key}={value!r} is refused: it is a number of pixels, for example 1003520."
            )
    for key, other in (("min_pixels", "max_pixels"), ("max_pixels", "min_pixels")):
        if key in given and other not in given:
            default = (size or own)["shortest_edge" if other == "min_pixels" else "longest_edge"]
            raise ConfigError(
                f"{MM_PROCESSOR_KWARGS}.{key}={given[key]} alone is ignored by transformers and used by vLLM: set "
                f"{MM_PROCESSOR_KWARGS}.{other} as well, for example to {default}."
            )


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

    async def open(self, source: Picture | Source, index: int, resize: Resize) -> ToolImage:
        """The full view of an image of a data row.

        Args:
            source: the picture, or what it is read from: a path, a data URI, bytes, or a decoded image.
            index: index of the image in its row.
            resize: the processor's resize of an original; hashable.

        Raises:
            UnreadableImage: the image cannot be shown.
        """
        picture = source if isinstance(source, Picture) else Picture(source)
        key = (await asyncio.to_thread(lambda: picture.reference), index, resize)
        image = self._images.get(key)
        if image is None:
            pending = self._pending.get(key)
            if pending is None:
                pending = asyncio.ensure_future(asyncio.to_thread(_open, picture, index, resize))
                pending.add_done_callback(partial(self._forget, key))
                self._pending[key] = pending
            image = self._images[key] = await pending
        return image

    def _forget(self, key: tuple, _: asyncio.Future[ToolImage]) -> None:
        del self._pending[key]


def _open(picture: Picture, index: int, resize: Resize) -> ToolImage:
    try:
        return full_view(picture.pixels(), index, resize)
    except (UnreadableImage, BoxError) as error:
        raise UnreadableImage(f"{picture.reference}: {error}") from error
