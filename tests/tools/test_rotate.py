# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from verl_mapo.tools.base import ArgumentError
from verl_mapo.tools.rotate import Rotate


@pytest.mark.parametrize(
    ("angle", "corner"), [(90, (0, 198, 0)), (180, (198, 198, 0)), (270, (198, 0, 0))], ids=["90", "180", "270"]
)
def test_rotate_turns_the_whole_image_clockwise(history, context, angle, corner):
    rotate = Rotate(context)
    turned = rotate.run(rotate.parse({"angle": angle}), history)
    assert turned.view.region == (0, 0, 100, 100) and turned.view.quarter_turns == angle // 90
    assert turned.pixels.getpixel((0, 0)) == corner and not turned.computed


def test_rotating_twice_adds_the_angles(history, context):
    rotate = Rotate(context)
    history.add(rotate.run(rotate.parse({"angle": 270}), history))
    turned = rotate.run(rotate.parse({"angle": 180, "img_idx": 1}), history)
    assert turned.view.quarter_turns == 1 and turned.pixels.getpixel((0, 0)) == (0, 198, 0)


def test_rotating_a_crop_turns_that_crop_and_not_its_original(history, context):
    history.add(history.crop(0, (10, 20, 30, 60)))
    rotate = Rotate(context)
    turned = rotate.run(rotate.parse({"angle": 90, "img_idx": 1}), history)
    assert turned.view.region == (10, 20, 30, 60) and turned.pixels.size == (40, 20)
    assert turned.pixels.getpixel((0, 0)) == (20, 118, 0), "the bottom left of the region, (10, 59)"


@pytest.mark.parametrize("arguments", [{}, {"angle": 45}, {"angle": "90"}])
def test_other_angles_are_refused(context, arguments):
    with pytest.raises(ArgumentError, match="angle"):
        Rotate(context).parse(arguments)
