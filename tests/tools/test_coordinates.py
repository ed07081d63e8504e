# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.tools.coordinates import BoxError, CoordinateSpace, View, clip, grow, iou, outward, scale

sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))
unit = st.floats(0, 1)


@st.composite
def boxes(draw, size):
    x = sorted((draw(unit) * size[0], draw(unit) * size[0]))
    y = sorted((draw(unit) * size[1], draw(unit) * size[1]))
    return x[0], y[0], x[1], y[1]


@st.composite
def placed(draw):
    size = draw(sizes)
    return size, draw(boxes(size))


@st.composite
def views(draw):
    original = draw(st.tuples(st.integers(2, 5000), st.integers(2, 5000)))
    x1, y1 = draw(st.integers(0, original[0] - 1)), draw(st.integers(0, original[1] - 1))
    region = x1, y1, draw(st.integers(x1 + 1, original[0])), draw(st.integers(y1 + 1, original[1]))
    return View(0, region, draw(st.integers(0, 3)), draw(st.tuples(st.integers(28, 2000), st.integers(28, 2000))))


def close(a, b, scale):
    return all(math.isclose(x, y, abs_tol=1e-9 * scale + 1e-6) for x, y in zip(a, b, strict=True))


@given(views(), st.data())
def test_box_is_unchanged_after_conversion_to_the_original_and_back(view, data):
    box = data.draw(boxes(view.size))
    there = view.to_original(box)
    assert close(view.from_original(there), box, max(view.size))
    left, top, right, bottom = view.region
    assert left - 1e-6 <= there[0] <= there[2] <= right + 1e-6
    assert top - 1e-6 <= there[1] <= there[3] <= bottom + 1e-6


def test_spaces_convert_by_hand():
    assert CoordinateSpace.normalized_1000.to_view((250, 500, 500, 1000), (112, 112)) == (28, 56, 56, 112)
    assert CoordinateSpace.normalized_1000.to_view((250, 500, 500, 1000), (112, 56)) == (28, 28, 56, 56)
    assert CoordinateSpace.pixels.to_view((28, 56, 56, 112), (112, 112)) == (28, 56, 56, 112)
    assert CoordinateSpace.of_model("qwen2_5_vl") is CoordinateSpace.pixels
    for family in ("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe"):
        assert CoordinateSpace.of_model(family) is CoordinateSpace.normalized_1000


def test_box_is_scaled_from_the_seen_size_to_the_original():
    """DeepEyes issue 141 cut boxes in pixels of the seen image out of the original."""
    view = View(0, (0, 0, 1000, 500), 0, (896, 448))
    assert close(view.to_original((89.6, 44.8, 179.2, 89.6)), (100, 50, 200, 100), 1)


def test_turned_view_by_hand():
    """A 100 x 50 original turned clockwise is 50 x 100; its top left corner is the original's bottom left."""
    view = View(0, (0, 0, 100, 50), 1, (50, 100))
    assert close(view.to_original((0, 0, 10, 20)), (0, 40, 20, 50), 1)


@pytest.mark.parametrize(
    "box",
    [(5, 5, 5, 9), (9, 5, 5, 9), (float("nan"), 0, 1, 1), (0, 0, float("inf"), 1), (200, 0, 300, 10), (-9, -9, 0, 5)],
)
def test_clip_refuses_unusable_boxes(box):
    with pytest.raises(BoxError):
        clip(box, (100, 100))


def test_clip_limits_a_box_to_the_width_and_the_height():
    assert clip((-5, -6, 300, 400), (100, 50)) == (0, 0, 100, 50)
    assert clip((5, 6, 30, 40), (100, 50)) == (5, 6, 30, 40)


@given(placed(), st.floats(1, 100), st.floats(1.5, 100))
def test_grown_box_is_large_enough_and_contains_the_box(case, min_side, max_aspect):
    size, box = case
    if box[2] <= box[0] or box[3] <= box[1]:
        return
    x1, y1, x2, y2 = grow(box, (0, 0, *size), min_side, max_aspect)
    eps = 1e-6
    assert 0 <= x1 <= box[0] + eps and x2 + eps >= box[2] and x2 <= size[0] + eps
    assert 0 <= y1 <= box[1] + eps and y2 + eps >= box[3] and y2 <= size[1] + eps
    assert x2 - x1 >= min(min_side, size[0]) - eps and y2 - y1 >= min(min_side, size[1]) - eps
    sides = sorted((x2 - x1, y2 - y1))
    assert sides[1] / sides[0] <= max_aspect + eps or sides[0] >= min(size) - eps


def test_tiny_box_grows_around_its_centre_and_inside_its_bounds():
    assert grow((50, 50, 52, 52), (0, 0, 100, 100), 28, 20) == (37, 37, 65, 65)
    assert grow((0, 0, 2, 2), (0, 0, 100, 100), 28, 20) == (0, 0, 28, 28)
    assert grow((50, 50, 52, 52), (45, 45, 60, 100), 28, 20) == (45, 45, 60, 73)


def test_scale_by_hand():
    assert scale((1, 2, 3, 4), (10, 10), (20, 5)) == (2, 1, 6, 2)


def test_outward_and_iou_by_hand():
    assert outward((1.2, 2.0, 3.1, 4.0000000001), (10, 10)) == (1, 2, 4, 4)
    assert iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert iou((0, 0, 1, 1), (2, 2, 3, 3)) == iou((0, 0, 2, 2), (0, 3, 2, 5)) == iou((0, 0, 2, 2), (3, 0, 5, 2)) == 0
    assert iou((1, 1, 1, 1), (1, 1, 1, 1)) == 0, "nothing is shared"


@given(*[st.tuples(*[st.integers(0, 6)] * 4)] * 2)
def test_iou_is_that_of_the_unit_squares_of_both_boxes(a, b):
    def squares(box):
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    a, b = ((min(x, u), min(y, v), max(x, u), max(y, v)) for x, y, u, v in (a, b))
    union = squares(a) | squares(b)
    assert iou(a, b) == pytest.approx(len(squares(a) & squares(b)) / len(union) if union else 0)


PIXELS, THOUSAND, ONE = CoordinateSpace.pixels, CoordinateSpace.normalized_1000, CoordinateSpace.normalized_1


@pytest.mark.parametrize("space", list(CoordinateSpace))
def test_whole_image_in_every_space(space):
    side = {"normalized_1000": 1000, "normalized_1": 1}.get(space.value)
    box = (0, 0, side, side) if side else (0, 0, 400, 300)
    assert space.to_view(box, (400, 300)) == (0, 0, 400, 300)


@pytest.mark.parametrize(
    ("space", "box", "other"),
    [
        (PIXELS, (0.1, 0.2, 0.5, 0.9), ONE),
        (PIXELS, (0, 0, 1, 1), ONE),
        (PIXELS, (-0.01, 0.1, 0.5, 1.02), ONE),
        (PIXELS, (0, 0, 2, 2), None),
        (PIXELS, (10, 20, 380, 290), None),
        (PIXELS, (10, 20, 420, 310), None),
        (PIXELS, (500, 500, 900, 1000), THOUSAND),
        (PIXELS, (500, 500, 9000, 9000), None),
        (PIXELS, (float("nan"), 0, 1, 1), None),
        (THOUSAND, (0.1, 0.2, 0.5, 0.9), ONE),
        (THOUSAND, (10, 20, 1003, 1000), None),
        (THOUSAND, (10, 20, 3000, 2000), None),
        (ONE, (0.1, 0.2, 0.5, 1.05), None),
        (ONE, (10, 20, 380, 290), THOUSAND),
        (ONE, (0, 0, 1, 1), None),
    ],
)
def test_box_in_other_units_is_recognised(space, box, other):
    assert space.other_space_of(box, (400, 300)) is other


def test_box_in_pixels_of_a_large_view_is_recognised():
    assert THOUSAND.other_space_of((100, 100, 3000, 1900), (4000, 2000)) is PIXELS


@given(st.sampled_from(CoordinateSpace), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_box_inside_the_image_is_never_taken_for_other_units_but_fractions(space, unit):
    side = {"normalized_1000": (1000, 1000), "normalized_1": (1, 1)}.get(space.value, (400, 300))
    box = (unit[0] * side[0], unit[1] * side[1], unit[2] * side[0], unit[3] * side[1])
    assert space.other_space_of(box, (400, 300)) in (None, ONE)
