# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from verl_mapo.tools.coordinates import BoxError
from verl_mapo.tools.image_history import ImageHistory, full_view


def test_history_starts_with_the_originals_as_a_whole(history):
    assert [view.region for view in history.views] == [(0, 0, 100, 100)]
    assert history.images[0].size == history.views[0].size == (56, 56)
    assert history.bounds(0) == (0, 0, 100, 100) and not history.canvases


def test_crop_without_a_box_shows_the_same_region(history):
    history.add(history.crop(0, (10, 20, 30, 60), quarter_turns=1))
    again = history.crop(1)
    assert again.view == history.views[1] and again.pixels.size == (40, 20)
    assert again.pixels.tobytes() == history.pixels(1).tobytes()


def test_box_is_widened_to_whole_pixels_of_the_original(history):
    assert history.crop(0, (1.2, 2.0, 3.1, 4.0)).view.region == (1, 2, 4, 4)


def test_plain_images_keep_no_pixels_at_full_resolution(history):
    assert history.add(history.crop(0, (10, 20, 30, 60))) == 1
    assert not history.canvases and history.bounds(1) == (0, 0, 100, 100)


def test_pixels_are_a_copy(history):
    history.pixels(0).paste("white", (0, 0, 100, 100))
    assert history.pixels(0).getpixel((0, 0)) == (0, 0, 0)


def test_turned_crop_of_a_computed_image_comes_from_its_own_pixels(history):
    history.add(history.crop(0, (0, 0, 50, 50), quarter_turns=1))
    double = history.pixels(1).resize((100, 100), Image.Resampling.NEAREST)
    history.add(history.computed(1, ImageOps.invert(double)))
    assert history.bounds(2) == (0, 0, 50, 50)
    part = history.crop(2, (0, 40, 10, 50), quarter_turns=1)
    assert part.computed and part.view.region == (0, 40, 10, 50) and part.view.quarter_turns == 2
    assert part.pixels.size == (20, 20), "at the resolution of the computed image"
    assert part.pixels.getpixel((0, 0)) == (255 - 18, 255 - 98, 255), "the region's bottom right"


def test_box_outside_a_computed_image_is_refused(history):
    history.add(history.crop(0, (0, 0, 50, 50)))
    history.add(history.computed(1, history.pixels(1)))
    with pytest.raises(BoxError, match="lies outside"):
        history.crop(2, (60, 60, 70, 70))
    assert history.crop(2, (40, 40, 70, 70)).view.region == (40, 40, 50, 50)


@pytest.mark.parametrize("box", [(10, 10, 10, 50), (10, 10, 50, 10), (150, 10, 190, 50), (10, 150, 50, 190)])
def test_box_without_width_or_height_inside_the_image_is_refused(history, box):
    with pytest.raises(BoxError, match="is empty or lies outside"):
        history.crop(0, box)


def test_first_shares_images_and_does_not_share_later_additions(history):
    history.add(history.computed(0, history.pixels(0)))
    history.add(history.computed(0, history.pixels(0)))
    fork = history.first(2)
    fork.add(fork.crop(0, (50, 50, 100, 100)))
    assert len(history.views) == len(fork.views) == 3 and fork.views[2] != history.views[2]
    assert fork.images[1] is history.images[1] and fork.canvases[1] is history.canvases[1]
    assert set(history.canvases) == {1, 2} and set(fork.canvases) == {1}


@pytest.mark.parametrize("index", [1, -1])
def test_index_of_no_image_is_refused(history, index):
    for method in (history.view, history.bounds, history.crop, history.pixels):
        with pytest.raises(BoxError, match=f"there is no image {index}: images 0 to 0 have been shown"):
            method(index)


def test_images_of_two_originals_are_cut_from_their_own():
    colours = ["red", "blue"]
    originals = [full_view(Image.new("RGB", (8, 8), colour), i, lambda size: size) for i, colour in enumerate(colours)]
    history = ImageHistory.of(originals, lambda size: size)
    crop = history.crop(1, (0, 0, 4, 4))
    assert crop.view.image == 1 and crop.pixels.getpixel((0, 0)) == (0, 0, 255)


def same_size(size: tuple[int, int]) -> tuple[int, int]:
    return size


NOISE = Image.frombytes("RGB", (40, 30), random.Random(0).randbytes(40 * 30 * 3))


@given(st.data())
def test_part_of_an_unchanged_computed_image_is_that_of_the_plain_image(data):
    history = ImageHistory.of([full_view(NOISE, 0, same_size)], same_size)
    turns = st.integers(0, 3)

    def box_in(region):
        left, right = sorted(
            data.draw(st.lists(st.integers(region[0], region[2]), min_size=2, max_size=2, unique=True))
        )
        top, bottom = sorted(
            data.draw(st.lists(st.integers(region[1], region[3]), min_size=2, max_size=2, unique=True))
        )
        return left, top, right, bottom

    history.add(history.crop(0, box_in((0, 0, 40, 30)), data.draw(turns)))
    history.add(history.computed(1, history.pixels(1)))
    box, quarter_turns = box_in(history.views[1].region), data.draw(turns)
    plain, computed = (history.crop(index, box, quarter_turns) for index in (1, 2))
    assert plain.view == computed.view and plain.pixels.tobytes() == computed.pixels.tobytes()
    assert computed.computed and not plain.computed
