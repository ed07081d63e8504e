# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
import pytest
from PIL import Image
from pydantic import ValidationError

from verl_mapo.tools.base import ArgumentError, ToolContext
from verl_mapo.tools.coordinates import BoxError, CoordinateSpace
from verl_mapo.tools.image_history import ImageHistory, full_view
from verl_mapo.tools.mark import Mark, MarkOptions
from verl_mapo.tools.zoom import Zoom

RED, BLUE = (255, 0, 0), (0, 0, 255)


def call(tool, history, **arguments):
    return tool.run(tool.parse(arguments), history)


def test_box_is_drawn_around_its_region_and_nothing_inside_changes(history, context):
    marked = call(Mark(context), history, bbox_2d=[28, 14, 42, 28])
    assert marked.computed and marked.view.region == (0, 0, 100, 100) and marked.asked == (50, 25, 75, 50)
    assert marked.image.size == (56, 56) and marked.pixels.size == (100, 100)
    for place in [(49, 24), (75, 50), (49, 40), (60, 50)]:
        assert marked.pixels.getpixel(place) == RED
    before = history.pixels(0)
    for place in [(50, 25), (74, 49), (48, 24), (76, 40)]:
        assert marked.pixels.getpixel(place) == before.getpixel(place)


def test_marking_leaves_the_original_unchanged(history, context):
    call(Mark(context), history, bbox_2d=[0, 0, 56, 56])
    assert history.originals[0].pixels.getpixel((0, 0)) == (0, 0, 0)


def test_box_at_the_edge_of_the_image_has_all_four_lines(history, context):
    marked = call(Mark(context), history, bbox_2d=[-9, -9, 99, 99])
    assert all(marked.pixels.getpixel(corner) == RED for corner in [(0, 50), (50, 0), (99, 50), (50, 99)])


def test_point_is_a_disc_in_the_units_of_the_model(history):
    mark = Mark(ToolContext(CoordinateSpace.normalized_1000, True, 4), MarkOptions(colour="#0000ff", line_width=0.02))
    marked = call(mark, history, point_2d=[500, 250])
    assert marked.computed and marked.asked is None
    assert marked.pixels.getpixel((50, 25)) == marked.pixels.getpixel((53, 25)) == BLUE
    assert marked.pixels.getpixel((56, 25)) != BLUE


def test_mark_on_a_turned_crop_is_drawn_where_the_model_sees_it(history, context):
    history.add(history.crop(0, (0, 0, 50, 50), quarter_turns=1))
    marked = call(Mark(context), history, bbox_2d=[0, 0, 28, 28], img_idx=1)
    assert marked.view.region == (0, 0, 50, 50) and marked.view.quarter_turns == 1
    assert marked.pixels.size == (50, 50) and marked.pixels.getpixel((10, 25)) == RED
    assert marked.asked == pytest.approx((0, 25, 25, 50))


def test_later_zoom_on_a_marked_image_shows_the_mark(history, context):
    history.add(call(Mark(context), history, bbox_2d=[28, 14, 42, 28]))
    crop = call(Zoom(context), history, label="x", bbox_2d=[14, 7, 56, 56], img_idx=1)
    assert crop.computed and crop.view.region == (25, 12, 100, 100)
    assert crop.pixels.getpixel((49 - 25, 24 - 12)) == RED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "arguments: give either bbox_2d or point_2d"),
        ({"bbox_2d": [1, 2, 3, 4], "point_2d": [1, 2]}, "arguments: give either"),
        ({"bbox_2d": [1, 2, 3]}, "bbox_2d: list should have at least 4 items"),
        ({"point_2d": [1, 2, 3]}, "point_2d: list should have at most 2 items"),
        ({"point_2d": [float("nan"), 2]}, "point_2d.0: input should be a finite number"),
    ],
)
def test_call_needs_exactly_one_mark_of_the_right_form(context, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Mark(context).parse(arguments)


@pytest.mark.parametrize(
    "arguments",
    [{"bbox_2d": [9, 9, 5, 12]}, {"bbox_2d": [60, 60, 70, 70]}, {"point_2d": [57, 3]}, {"point_2d": [3, -1]}]
    + [{"point_2d": [3, 3], "img_idx": 1}],
)
def test_place_outside_the_image_is_refused(history, context, arguments):
    with pytest.raises(BoxError):
        call(Mark(context), history, **arguments)


@pytest.mark.parametrize(
    ("point", "inside"),
    [([50, 20], True), ([0, 0], True), ([56, 28], True), ([20, 50], False), ([57, 20], False), ([-1, 20], False)],
)
def test_point_is_compared_with_the_width_and_the_height_as_seen(context, point, inside):
    wide = ImageHistory.of([full_view(Image.new("RGB", (200, 100)), 0, lambda _: (56, 28))], lambda _: (56, 28))
    if inside:
        x, y = point[0] * 200 / 56, point[1] * 100 / 28
        assert call(Mark(context), wide, point_2d=point).pixels.getpixel((min(round(x), 199), min(round(y), 99))) == RED
        return
    with pytest.raises(BoxError, match="the point lies outside the image"):
        call(Mark(context), wide, point_2d=point)


@pytest.mark.parametrize("options", [{"colour": "reddish"}, {"line_width": 0}, {"line_width": 0.2}])
def test_invalid_options_are_refused(options):
    with pytest.raises(ValidationError):
        MarkOptions(**options)
