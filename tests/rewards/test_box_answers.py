# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes as answers: by hand, and as properties."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.rewards.answers import find_check
from verl_mapo.rewards.box_answers import STYLE, box_overlaps

BOX = st.tuples(*[st.integers(0, 1000)] * 4).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 1, max(b[1], b[3]) + 1)
)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("[0, 0, 100, 100]", True),
        ("The box is [0, 0, 100, 50].", True),  # 5,000 / 10,000
        ("[0, 0, 100, 49]", False),  # 4,900 / 10,000
        ("(50, 0, 150, 100)", False),  # 5,000 / 15,000
        ("[0,0,100.0,100.5]", True),
        ("0, 0, 100, 100", False),
        ("[0, 0, 100, 100] or [0, 0, 100, 100]", False),
        ("[100, 100, 0, 0]", False),
        ("nowhere", False),
        ("", False),
    ],
)
def test_box_is_right_from_half_an_overlap_on(answer, right):
    assert box_overlaps(answer, "[0, 0, 100, 100]") is right


def test_style_names_the_check():
    assert find_check(STYLE) is box_overlaps


@given(BOX, BOX)
def test_check_is_symmetric_and_true_for_equal_boxes(one, other):
    assert box_overlaps(str(list(one)), json.dumps(one))
    assert box_overlaps(str(list(one)), json.dumps(other)) == box_overlaps(str(list(other)), json.dumps(one))


@given(st.text(max_size=80))
def test_no_answer_raises(answer):
    assert box_overlaps(answer, "[0, 0, 1, 1]") in (True, False)
