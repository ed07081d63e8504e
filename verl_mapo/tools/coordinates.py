# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes in three frames: the units that a model writes, the view that it saw, and the original that a crop comes from.

A box is converted in one direction::

    said (model's units)  --CoordinateSpace-->  view (pixels as seen)  --View-->  original (full-resolution pixels)

This module knows nothing of verl, of models or of tools.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

Box = tuple[float, float, float, float]
"""``(x1, y1, x2, y2)``, half-open, origin at the top left."""

Point = tuple[float, float]
"""``(x, y)``, in the frame of a box."""

Place = Box | Point
"""A box or a point."""

Region = tuple[int, int, int, int]
"""A box on the pixel grid."""

Size = tuple[int, int]
"""``(width, height)`` in pixels, as in PIL."""


class BoxError(ValueError):
    """A call names a box, a point or an image that does not exist. The message is written for the model."""


class CoordinateSpace(Enum):
    """The units a model family uses for boxes.

    ``pixels``: absolute pixels of the image as the model saw it, after the processor's resize (Qwen2.5-VL).
    ``normalized_1000``: 0 to 1000 along each side, whatever the image's size (Qwen3-VL, Qwen3.5).
    ``normalized_1``: 0 to 1 along each side, as models of other families and some data sets have it.
    """

    pixels = "pixels"
    normalized_1000 = "normalized_1000"
    normalized_1 = "normalized_1"

    @classmethod
    def of_model(cls, model_type: str) -> CoordinateSpace:
        """The space of a Hugging Face ``model_type``.

        Raises:
            KeyError: the family is not known.
        """
        return _SPACE_OF_MODEL[model_type]

    @property
    def units(self) -> str:
        """The units in words, for the model."""
        side = _SIDE.get(self)
        return f"each from 0 to {side} across that image" if side else "in pixels of that image"

    def to_view(self, box: Box, view: Size) -> Box:
        """Convert a box, or a point given as an empty box, from the model's units to pixels of a view of size ``view``.

        Raises:
            BoxError: the numbers look like fractions of the image, and these are not the model's units.
        """
        if self.other_space_of(box, view) is CoordinateSpace.normalized_1:
            raise BoxError(f"the numbers look like fractions of the image; they have to be {self.units}")
        side = _SIDE.get(self)
        x, y = (view[0] / side, view[1] / side) if side else (1.0, 1.0)
        return box[0] * x, box[1] * y, box[2] * x, box[3] * y

    def other_space_of(self, place: Place, view: Size) -> CoordinateSpace | None:
        """The units in which a place was probably written, if they are not these; None if it fits these.

        A place whose numbers are all between 0 and 1, or nearly, is taken for fractions, unless all are 0, which is the
        same place in all units. One that reaches more than a tenth beyond the image is taken for the units in which it
        lies inside; a smaller excess is a model's inaccuracy.

        Args:
            place: as the model wrote it.
            view: (width, height) of the image in pixels as the model saw it.
        """
        if not all(math.isfinite(value) for value in place) or not any(place):
            return None
        whole = all(float(value).is_integer() for value in place)
        slack = 0 if whole else _INACCURACY
        if self is not CoordinateSpace.normalized_1 and min(place) >= -slack and max(place) <= 1 + slack:
            return CoordinateSpace.normalized_1
        fits = {space for space in CoordinateSpace if space._holds(place, view)}
        if self in fits:
            return None
        others = (CoordinateSpace.normalized_1000, CoordinateSpace.pixels)
        return next((space for space in others if space in fits), None)

    def _holds(self, place: Place, view: Size) -> bool:
        """Whether a place lies in the image, or at most a tenth beyond it."""
        width, height = (_SIDE[self], _SIDE[self]) if self in _SIDE else view
        excess = 1 + _INACCURACY
        return min(place) >= -_INACCURACY * max(width, height) and (
            max(place[::2]) <= excess * width and max(place[1::2]) <= excess * height
        )


_SIDE = {CoordinateSpace.normalized_1000: 1000, CoordinateSpace.normalized_1: 1}
"""Length of a side of the image in units that do not depend on the image's size."""

_INACCURACY = 0.1


_SPACE_OF_MODEL = {
    "qwen2_vl": CoordinateSpace.pixels,
    "qwen2_5_vl": CoordinateSpace.pixels,
    "qwen3_vl": CoordinateSpace.normalized_1000,
    "qwen3_vl_moe": CoordinateSpace.normalized_1000,
    "qwen3_5": CoordinateSpace.normalized_1000,
    "qwen3_5_moe": CoordinateSpace.normalized_1000,
}


def clip(box: Box, size: Size) -> Box:
    """The part of ``box`` inside an image of ``size``.

    Raises:
        BoxError: the box has a value that is not finite, is inverted or empty, or lies wholly outside.
    """
    if not all(math.isfinite(value) for value in box):
        raise BoxError("the four numbers of the box must be finite")
    x1, y1, x2, y2 = box
    if x2 <= x1 or y2 <= y1:
        raise BoxError("the box is empty or inverted: it needs x1 < x2 and y1 < y2")
    clipped = max(x1, 0.0), max(y1, 0.0), min(x2, float(size[0])), min(y2, float(size[1]))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        raise BoxError("the box lies outside the image")
    return clipped


def scale(box: Box, size: Size, target: Size) -> Box:
    """Convert a box to pixels of the same image at another size.

    Args:
        box: in pixels of the image at ``size``.
        size: (width, height) of the image.
        target: (width, height) of the same image after a resize.
    """
    x, y = target[0] / size[0], target[1] / size[1]
    return box[0] * x, box[1] * y, box[2] * x, box[3] * y


def grow(box: Box, bounds: Box, min_side: float, max_aspect: float) -> Box:
    """Enlarge a box around its centre, inside its bounds, until a vision processor can take it.

    Args:
        box: not empty; its part inside the bounds is used.
        bounds: the largest box allowed.
        min_side: shortest side allowed; where the bounds are smaller, a side grows to theirs.
        max_aspect: largest ratio of the sides allowed.

    Returns:
        A box that contains the part of ``box`` inside the bounds.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    need = max(min_side, max(width, height) / max_aspect)
    x1, x2 = _grow_side(box[0], box[2], max(width, need), bounds[0], bounds[2])
    y1, y2 = _grow_side(box[1], box[3], max(height, need), bounds[1], bounds[3])
    return x1, y1, x2, y2


def _grow_side(low: float, high: float, length: float, least: float, most: float) -> tuple[float, float]:
    length = min(length, float(most - least))
    low = min(max((low + high - length) / 2, float(least)), most - length)
    return low, low + length


def outward(box: Box, size: Size) -> Region:
    """The smallest box on the pixel grid of an image that contains ``box``."""
    # A box that was converted to another frame and back may differ from itself by a rounding error.
    x1, y1, x2, y2 = (round(value, 6) for value in box)
    return max(math.floor(x1), 0), max(math.floor(y1), 0), min(math.ceil(x2), size[0]), min(math.ceil(y2), size[1])


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


@dataclass(frozen=True)
class View:
    """The geometry of an image that the model saw: a region of an original, turned by quarter turns, at some size.

    Attributes:
        image: index of the original among the trajectory's originals.
        region: the part of the original that it shows, in pixels of the original.
        quarter_turns: number of clockwise quarter turns after the crop, 0 to 3.
        size: (width, height) in pixels as the model saw it, after the turn and the processor's resize.
    """

    image: int
    region: Region
    quarter_turns: int
    size: Size

    def to_original(self, box: Box) -> Box:
        """Convert a box from pixels of this view to pixels of the original."""
        x1, y1, x2, y2 = _unturn(
            (box[0] / self.size[0], box[1] / self.size[1], box[2] / self.size[0], box[3] / self.size[1]),
            self.quarter_turns,
        )
        left, top, right, bottom = self.region
        width, height = right - left, bottom - top
        return left + x1 * width, top + y1 * height, left + x2 * width, top + y2 * height

    def from_original(self, box: Box) -> Box:
        """The inverse of :meth:`to_original`."""
        left, top, right, bottom = self.region
        width, height = right - left, bottom - top
        unit = ((box[0] - left) / width, (box[1] - top) / height, (box[2] - left) / width, (box[3] - top) / height)
        x1, y1, x2, y2 = _unturn(unit, -self.quarter_turns)
        return x1 * self.size[0], y1 * self.size[1], x2 * self.size[0], y2 * self.size[1]


def _unturn(box: Box, quarter_turns: int) -> Box:
    """Undo clockwise quarter turns on a box in unit coordinates."""
    for _ in range(quarter_turns % 4):
        x1, y1, x2, y2 = box
        box = y1, 1 - x2, y2, 1 - x1
    return box
