# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The images that an audit shows in the place of a crop: as large as it, and something else."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from verl_mapo.rollout.swaps import MOST_OVERLAP, AuditSettings, Swapper
from verl_mapo.settings import ConfigError, parse_node
from verl_mapo.tools.coordinates import iou
from verl_mapo.tools.image_history import ImageHistory, full_view

WIDTH, HEIGHT = 64, 48


def seen_at(size):
    """A resize to whole tokens of 4 pixels."""
    return tuple(max(4, 4 * round(side / 4)) for side in size)


def picture(first: int) -> Image.Image:
    """A picture whose pixels tell their place: red is x, green is y, blue is the picture."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = np.arange(WIDTH), np.arange(HEIGHT)[:, None], first
    return Image.fromarray(pixels)


def history() -> ImageHistory:
    return ImageHistory.of([full_view(picture(1), 0, seen_at)], seen_at)


def swapped(kind: str, box, turns: int = 0, seed: int = 0, other: Image.Image | None = None):
    shown = history()
    real = shown.crop(0, box, turns)
    other = other and full_view(other, 0, seen_at)
    return real, Swapper(kind, Random(seed), other).first(real.view, real.image, shown)


boxes = st.tuples(st.integers(0, 40), st.integers(0, 30), st.integers(4, 64), st.integers(4, 48)).map(
    lambda drawn: (drawn[0], drawn[1], min(WIDTH, drawn[0] + drawn[2]), min(HEIGHT, drawn[1] + drawn[3]))
)


@given(boxes, st.integers(0, 3), st.integers())
def test_random_crop_has_the_size_of_the_real_one_and_shows_another_part(box, turns, seed):
    real, found = swapped("random_crop", box, turns, seed)
    if found is None:
        assert 2 * (box[2] - box[0]) > WIDTH or 2 * (box[3] - box[1]) > HEIGHT
        return
    x1, y1, x2, y2 = found.box
    assert found.image.size == real.image.size
    assert (x2 - x1, y2 - y1) == (box[2] - box[0], box[3] - box[1])
    assert 0 <= x1 < x2 <= WIDTH and 0 <= y1 < y2 <= HEIGHT and iou(found.box, box) <= MOST_OVERLAP


def test_random_crop_holds_the_pixels_of_its_box_turned_as_the_real_one():
    real, found = swapped("random_crop", (8, 8, 24, 20), turns=1)
    x1, y1, x2, y2 = found.box
    left_top = np.asarray(found.image)[0, 0]
    assert real.image.size == found.image.size == (12, 16)
    assert left_top.tolist() == [x1, y2 - 1, 1]  # a clockwise quarter turn brings the lower left corner to the top


def test_whole_image_has_no_other_part():
    assert swapped("random_crop", (0, 0, WIDTH, HEIGHT))[1] is None
    shown = history()
    whole = shown.crop(0)
    later = Swapper("random_crop", Random(0)).later(whole.view, whole.image, shown)
    assert later.size == whole.image.size and later.getpixel((3, 3)) == (127, 127, 127)


def test_other_image_blank_and_repeat():
    real, other = swapped("other_image", (8, 8, 24, 20), other=picture(9).resize((12, 80)))
    assert other.image.size == real.image.size and np.asarray(other.image)[..., 2].min() == 9
    assert other.box[2] - other.box[0] == 12 and other.box[3] - other.box[1] == 12
    assert swapped("other_image", (8, 8, 24, 20))[1] is None
    real, blank = swapped("blank", (8, 8, 24, 20))
    assert blank.box is None and set(np.asarray(blank.image).ravel()) == {127} and blank.image.size == real.image.size
    real, same = swapped("repeat", (8, 8, 24, 20))
    assert same.image is real.image and same.box == (8, 8, 24, 20)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"share": 1.5}, "visual_tool.audit.share=1.5 is refused"),
        ({"swaps": []}, "visual_tool.audit.swaps"),
        ({"swaps": ["blank", "blank"]}, "named twice"),
        ({"swaps": ["noise"]}, "visual_tool.audit.swaps.0='noise' is refused"),
        ({"answer": "the truth"}, "needs {truth} once"),
    ],
)
def test_wrong_setting_is_refused_with_a_sentence(given, message):
    with pytest.raises(ConfigError) as error:
        parse_node(AuditSettings, given, "visual_tool.audit")
    assert message in str(error.value)
