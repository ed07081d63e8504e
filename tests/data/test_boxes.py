# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes of every published unit become pixels of the original image."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from verl_mapo.data.boxes import pixel_boxes
from verl_mapo.data.pictures import Picture
from verl_mapo.data.reasons import LeftOut

WIDE = Picture(Path("x.jpg"), 400, 200)


@pytest.mark.parametrize(
    ("box", "unit", "form", "pixels"),
    [
        ([100, 50, 200, 150], "pixels", "xyxy", [100, 50, 200, 150]),
        ([0.25, 0.25, 0.5, 0.75], "fractions", "xyxy", [100, 50, 200, 150]),
        ([250, 250, 500, 750], "thousandths", "xyxy", [100, 50, 200, 150]),
        ([100, 50, 100, 100], "pixels", "xywh", [100, 50, 200, 150]),
        ([0.25, 0.25, 0.25, 0.5], "fractions", "xywh", [100, 50, 200, 150]),
        ([-2, 0, 403, 200], "pixels", "xyxy", [0, 0, 400, 200]),
    ],
)
def test_box_by_hand(box, unit, form, pixels):
    assert pixel_boxes([box], WIDE, unit, form) == [pixels]


@pytest.mark.parametrize(
    ("box", "unit", "reason"),
    [
        ([100, 50, 100, 150], "pixels", "box_outside"),
        ([200, 50, 100, 150], "pixels", "box_outside"),
        ([100, 50, 500, 150], "pixels", "box_outside"),
        ([100, 50, 200, 150], "fractions", "box_outside"),
        ([-100, -100, -50, -50], "pixels", "box_outside"),
        ([0.25, 0.25, 0.5, 0.75], "pixels", "malformed"),
        ([0, 0, 0, 0], "pixels", "box_outside"),
        ([0, 0, 1, 1], "thousandths", "malformed"),
        ([1, 2, 3], "pixels", "malformed"),
        ([1, 2, 3, None], "pixels", "malformed"),
        ([1, 2, 3, float("nan")], "pixels", "malformed"),
    ],
)
def test_box_that_is_none_has_its_reason(box, unit, reason):
    with pytest.raises(LeftOut) as left:
        pixel_boxes([box], WIDE, unit)
    assert left.value.reason == reason


def test_fractions_that_are_taken_for_pixels_name_the_option():
    with pytest.raises(LeftOut, match="between 0 and 1, .* --option box_unit=fractions"):
        pixel_boxes([[0.1, 0.1, 0.5, 0.5]], WIDE)


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.integers(1, 9000), st.integers(1, 9000))
def test_boxes_of_all_units_agree_and_are_inside(box, width, height):
    picture = Picture(Path("x.jpg"), width, height)
    x1, x2, y1, y2 = *sorted(box[:2]), *sorted(box[2:])
    fractions = [x1, y1, x2, y2]
    try:
        [found] = pixel_boxes([fractions], picture, "fractions")
    except LeftOut:
        assert x1 * width == x2 * width or y1 * height == y2 * height
        return
    assert 0 <= found[0] < found[2] <= width and 0 <= found[1] < found[3] <= height
    assume(max(fractions) > 0.001)
    [thousandths] = pixel_boxes([[side * 1000 for side in fractions]], picture, "thousandths")
    assert thousandths == pytest.approx(found, abs=1e-6 * max(width, height))
