# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The images of one rollout: the originals at full resolution, and every image that the model saw, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from PIL import Image

from verl_mapo.tools.coordinates import Box, BoxError, Region, Size, View, outward

Resize = Callable[[Size], Size]
"""Maps the size of an image to the size at which the model sees it, which the processor does not resize again."""

_TURN = {1: Image.Transpose.ROTATE_270, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_90}


@dataclass(frozen=True)
class ToolImage:
    """An image to show to the model.

    Attributes:
        view: the part of an original that it shows.
        image: its pixels as the model sees them.
        pixels: its pixels at full resolution, before the processor's resize.
        asked: the box in the call, in pixels of the original, before it was clipped and grown; None without a box.
        computed: whether a tool drew or computed the pixels, so that they are not a plain part of an original.
    """

    view: View
    image: Image.Image
    pixels: Image.Image
    asked: Box | None = None
    computed: bool = False


def full_view(original: Image.Image, index: int, resize: Resize) -> ToolImage:
    """The view of a whole original.

    Args:
        original: the image at full resolution.
        index: its index among the originals of the rollout.
        resize: the processor's resize of an original.
    """
    view = View(index, (0, 0, *original.size), 0, resize(original.size))
    return ToolImage(view, _resized(original, view.size), original)


@dataclass
class ImageHistory:
    """The originals of a rollout, and all images that the model was shown. The first of these are the whole originals.

    Boxes are in pixels of an original. An index counts the images shown, from 0. The methods that make an image do not
    add it to the history; :meth:`add` does.

    Attributes:
        originals: shared between the rollouts of a prompt, never changed.
        resize: the processor's resize of an image that a tool returns.
        views: the view of each image shown.
        images: the pixels of each image shown, as the model saw it.
        canvases: the pixels at full resolution of each computed image, by its index. The pixels of other images are not
            kept, because they can be cut out of an original.
    """

    originals: list[ToolImage]
    resize: Resize
    views: list[View] = field(default_factory=list)
    images: list[Image.Image] = field(default_factory=list)
    canvases: dict[int, Image.Image] = field(default_factory=dict)

    @classmethod
    def of(cls, originals: list[ToolImage], resize: Resize) -> ImageHistory:
        """A history in which only the originals were shown."""
        history = cls(originals, resize)
        for original in originals:
            history.add(original)
        return history

    def first(self, count: int) -> ImageHistory:
        """A separate history with the first ``count`` images; pixels are shared, not copied."""
        canvases = {index: canvas for index, canvas in self.canvases.items() if index < count}
        return ImageHistory(self.originals, self.resize, self.views[:count], self.images[:count], canvases)

    def view(self, index: int) -> View:
        """The view of an image shown.

        Raises:
            BoxError: there is no image with this index; the message is written for the model.
        """
        if not 0 <= index < len(self.views):
            raise BoxError(f"there is no image {index}: images 0 to {len(self.views) - 1} have been shown")
        return self.views[index]

    def bounds(self, index: int) -> Box:
        """The largest box that :meth:`crop` can cut out: the whole original, or the region of a computed image.

        Raises:
            BoxError: there is no image with this index.
        """
        view = self.view(index)
        return view.region if index in self.canvases else (0, 0, *self.originals[view.image].pixels.size)

    def crop(self, index: int, box: Box | None = None, quarter_turns: int = 0) -> ToolImage:
        """Cut a box out of an image shown, at full resolution.

        Args:
            index: index of the image. A part of a computed image is cut out of that image's pixels, and is a computed
                image as well. A part of any other image is cut out of its original, so the box may extend beyond the
                image's region.
            box: in pixels of the original, limited to :meth:`bounds`; None for the region of the image.
            quarter_turns: number of clockwise quarter turns, added to those of the image.

        Raises:
            BoxError: there is no image with this index, or the box is empty or lies outside the image.
        """
        view = self.view(index)
        region, pixels = self._cut(index, box, quarter_turns)
        turned = View(view.image, region, (view.quarter_turns + quarter_turns) % 4, view.size)
        return self._shown(turned, pixels, computed=index in self.canvases)

    def pixels(self, index: int) -> Image.Image:
        """A copy of the pixels of an image shown, at full resolution and turned as it is.

        Raises:
            BoxError: there is no image with this index.
        """
        return self._cut(index, None, 0)[1].copy()

    def computed(self, index: int, pixels: Image.Image) -> ToolImage:
        """An image that a tool drew or computed from an image shown.

        The new image has the view of the old one, so the tool must not move pixels, or must know that recorded boxes on
        its images will be those of the unmoved image. Pixels and later crops are right in both cases.

        Args:
            index: index of the image shown; the new image has the same view.
            pixels: the new image at full resolution, turned like the view, of any size and mode.

        Raises:
            BoxError: there is no image with this index.
        """
        return self._shown(self.view(index), pixels.convert("RGB"), computed=True)

    def add(self, image: ToolImage) -> int:
        """Record that an image was shown; returns its index."""
        index = len(self.views)
        self.views.append(image.view)
        self.images.append(image.image)
        if image.computed:
            self.canvases[index] = image.pixels
        return index

    def _cut(self, index: int, box: Box | None, quarter_turns: int) -> tuple[Region, Image.Image]:
        """The region and the pixels that :meth:`crop` returns."""
        view = self.view(index)
        original = self.originals[view.image].pixels
        region = view.region if box is None else outward(box, original.size)
        if region[0] >= region[2] or region[1] >= region[3]:
            raise BoxError("the box is empty or lies outside the image")
        if index not in self.canvases:
            return region, _turned_part(original, region, view.quarter_turns + quarter_turns)
        region, canvas = _intersection(region, view.region), self.canvases[index]
        part = outward(replace(view, size=canvas.size).from_original(region), canvas.size)
        return region, _turned_part(canvas, part, quarter_turns)

    def _shown(self, view: View, pixels: Image.Image, computed: bool = False) -> ToolImage:
        """The image of a view at the size at which the model sees it."""
        size = self.resize(pixels.size)
        return ToolImage(replace(view, size=size), _resized(pixels, size), pixels, computed=computed)


def _turned_part(image: Image.Image, box: Region, quarter_turns: int) -> Image.Image:
    part = image if box == (0, 0, *image.size) else image.crop(box)
    return part.transpose(_TURN[quarter_turns % 4]) if quarter_turns % 4 else part


def _resized(image: Image.Image, size: Size) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)


def _intersection(a: Region, b: Region) -> Region:
    x1, y1, x2, y2 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    if x1 >= x2 or y1 >= y2:
        raise BoxError("the box lies outside the image")
    return x1, y1, x2, y2
