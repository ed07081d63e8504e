# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
import pytest
from PIL import ImageOps
from pydantic import ValidationError

from verl_mapo.tools.base import ArgumentError, ToolContext
from verl_mapo.tools.coordinates import BoxError, CoordinateSpace
from verl_mapo.tools.rotate import Rotate
from verl_mapo.tools.zoom import Zoom, ZoomOptions


@pytest.fixture
def zoom(context):
    return Zoom(context)


def call(zoom, history, **arguments):
    return zoom.run(zoom.parse({"label": "x", **arguments}), history)


def test_crop_is_cut_from_the_original_at_full_resolution(history, zoom):
    crop = call(zoom, history, bbox_2d=[28, 14, 42, 28])
    assert crop.view.region == (50, 25, 75, 50) and not crop.computed
    assert crop.pixels.size == (25, 25) and crop.image.size == (56, 56)
    assert crop.pixels.getpixel((0, 0)) == (100, 50, 0)
    assert len(history.views) == 1, "running a tool does not change the history"


def test_box_from_0_to_1000_is_converted_once(history):
    zoom = Zoom(ToolContext(CoordinateSpace.normalized_1000, labels=True, image_token_side=4))
    crop = call(zoom, history, bbox_2d=[250, 500, 500, 750])
    assert crop.view.region == (25, 50, 50, 75) and crop.asked == pytest.approx((25, 50, 50, 75))
    assert crop.pixels.getpixel((0, 0)) == (50, 100, 0)


def test_zoom_into_a_turned_crop_is_mapped_back_to_the_original(history, zoom, context):
    history.add(call(zoom, history, bbox_2d=[0, 0, 28, 28]))
    rotate = Rotate(context)
    history.add(rotate.run(rotate.parse({"angle": 90, "img_idx": 1}), history))
    crop = call(zoom, history, bbox_2d=[0, 0, 28, 28], img_idx=2)
    assert crop.view.region == (0, 25, 25, 50) and crop.view.quarter_turns == 1
    assert crop.pixels.getpixel((0, 0)) == (0, 98, 0), "the turned crop's top left is the region's bottom left"


def test_small_box_may_grow_beyond_its_crop(history, zoom):
    history.add(call(zoom, history, bbox_2d=[0, 0, 14, 14]))
    crop = call(zoom, history, bbox_2d=[55, 55, 56, 56], img_idx=1)
    assert crop.view.region == (22, 22, 27, 27), "the crop ends at 25, its original does not"


def test_zoom_into_a_computed_image_shows_its_pixels_and_stays_inside_its_region(history, zoom):
    history.add(call(zoom, history, bbox_2d=[0, 0, 28, 28]))
    history.add(history.computed(1, ImageOps.invert(history.pixels(1))))
    crop = call(zoom, history, bbox_2d=[28, 28, 56, 56], img_idx=2)
    assert crop.computed and crop.view.region == (25, 25, 50, 50)
    assert crop.pixels.getpixel((0, 0)) == (255 - 50, 255 - 50, 255)
    edge = call(zoom, history, bbox_2d=[55, 55, 56, 56], img_idx=2)
    assert edge.view.region == (46, 46, 50, 50)


@pytest.mark.parametrize("options", [ZoomOptions(min_side=20), ZoomOptions(max_aspect=2)])
def test_options_decide_how_far_a_box_grows(history, context, options):
    crop = call(Zoom(context, options), history, bbox_2d=[0, 0, 22.4, 5.6])
    assert crop.view.region == (0, 0, 40, 20)


@pytest.mark.parametrize("options", [{"min_side": 0}, {"max_aspect": 1}, {"max_aspect": 151}, {"side": 3}])
def test_invalid_options_are_refused(options):
    with pytest.raises((ValidationError, TypeError)):
        ZoomOptions(**options)


def test_defaults_are_one_image_token_and_a_ratio_of_twenty():
    assert (ZoomOptions().min_side, ZoomOptions().max_aspect) == (None, 20.0)


@pytest.mark.parametrize(
    "arguments",
    [None, [], "x", {}, {"bbox_2d": [1, 2, 3]}, {"bbox_2d": ["1", 2, 3, 4]}, {"bbox_2d": [1, 2, 3, float("nan")]}]
    + [{"bbox_2d": [1, 2, 3, 4], "label": 7}, {"bbox_2d": [1, 2, 3, 4], "img_idx": "0"}]
    + [{"bbox_2d": [1, 2, 3, 4], "zoom": 2}, {"bbox_2d": [1, 2, 3, True]}, {"bbox_2d": [1, 2, 3, 10**400]}],
)
def test_arguments_of_the_wrong_form_are_refused(zoom, arguments):
    with pytest.raises(ArgumentError):
        zoom.parse(arguments)


@pytest.mark.parametrize("box", [[9, 9, 5, 12], [60, 60, 70, 70], [5, 5, 5, 5]])
def test_unusable_boxes_are_refused(history, zoom, box):
    with pytest.raises(BoxError):
        call(zoom, history, bbox_2d=box)


@pytest.mark.parametrize("index", [1, -1, 10**9])
def test_image_that_was_not_shown_is_refused(history, zoom, index):
    with pytest.raises(BoxError, match="there is no image"):
        call(zoom, history, bbox_2d=[0, 0, 9, 9], img_idx=index)
