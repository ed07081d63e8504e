# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Ground-truth regions of published sets, converted to pixels of the original image."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Literal

from verl_mapo.data.pictures import Picture
from verl_mapo.data.reasons import LeftOut

BoxUnit = Literal["pixels", "fractions", "thousandths"]
"""The units of published boxes: pixels of the original image, parts of a side from 0 to 1, or from 0 to 1000."""

OUTSIDE = 0.01
"""Share of a side by which a box may reach over the edge, for rounding; it is then cut at the edge [ours]."""


def pixel_boxes(
    boxes: Sequence[Sequence[float]], picture: Picture, unit: BoxUnit = "pixels", form: Literal["xyxy", "xywh"] = "xyxy"
) -> list[list[float]]:
    """Boxes in pixels of the original image, upright, each ``[x1, y1, x2, y2]``.

    Args:
        boxes: four numbers each.
        picture: the image to which they belong.
        unit: what the numbers count.
        form: two corners, or the first corner with width and height.

    Raises:
        LeftOut: ``malformed``, a box is not four numbers, or all of them are between 0 and 1 though they shall count
            pixels or thousandths: such a box is no region, and its numbers are fractions. ``box_outside``, it reaches
            over the edge of the image by more than :data:`OUTSIDE`, or it has no area.
    """
    sides = (picture.width, picture.height)
    return [_pixel_box(box, sides, unit, form) for box in boxes]


def _pixel_box(box: Sequence[float], sides: tuple[int, int], unit: BoxUnit, form: str) -> list[float]:
    if len(box) != 4 or not all(isinstance(side, Real) and side == side for side in box):
        raise LeftOut("malformed", f"the box {list(box)!r:.80} is not four numbers")
    if unit != "fractions" and max(sides) > 1 and any(box[2:]) and all(0 <= side <= 1 for side in box):
        raise LeftOut(
            "malformed",
            f"the box {list(box)} has only numbers between 0 and 1, which as {unit} are no region but as fractions of "
            "the sides would be one: give --option box_unit=fractions where the set has this option",
        )
    first, second = box[:2], box[2:]
    if form == "xywh":
        second = [start + length for start, length in zip(first, second, strict=True)]
    whole = {"pixels": sides, "fractions": (1, 1), "thousandths": (1000, 1000)}[unit]
    corners = []
    for corner in (first, second):
        scaled = [value * side / top for value, side, top in zip(corner, sides, whole, strict=True)]
        if not all(-OUTSIDE * side <= value <= (1 + OUTSIDE) * side for value, side in zip(scaled, sides, strict=True)):
            raise LeftOut(
                "box_outside", f"the box {list(box)} ({unit}, {form}) is not inside {sides[0]} x {sides[1]} pixels"
            )
        corners += [float(min(max(value, 0), side)) for value, side in zip(scaled, sides, strict=True)]
    if corners[0] >= corners[2] or corners[1] >= corners[3]:
        raise LeftOut("box_outside", f"the box {list(box)} ({form}) has no area")
    return corners
