# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Options are read from every published form, shuffled by a key, and written below the question."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.benchmarks.options import in_columns, listed, shuffled, split_options, with_options
from verl_mapo.data.reasons import LeftOut


@pytest.mark.parametrize(
    ("text", "stem", "options"),
    [
        ("Which? (A) red (B) blue", "Which?", ["red", "blue"]),
        ("Which?\nA. red\nB. blue, dark\nC. none", "Which?", ["red", "blue, dark", "none"]),
        ("Options: A: red, B: blue", "Options:", ["red", "blue"]),
        ("A. 10°; B. 20°；C. No correct answer", "", ["10°", "20°", "No correct answer"]),
        ("A.27B\nB.37B\nC.27D", "", ["27B", "37B", "27D"]),
        ("From A. to B, how far? (A) 1 (B) 2", "From A. to B, how far?", ["1", "2"]),
        ("Select from A, B and C.", "Select from A, B and C.", []),
        ("no options", "no options", []),
    ],
)
def test_options_in_a_text(text, stem, options):
    assert split_options(text) == (stem, options)


@pytest.mark.parametrize(
    "value", [["red", "blue"], ["(A) red", "(B) blue"], "['red', 'blue']", "A. red\nB. blue", ("A. red", "B. blue")]
)
def test_options_in_any_column(value):
    assert listed(value) == ["red", "blue"]


def test_options_that_only_look_like_labels_are_kept():
    assert listed(["A) x", "plain"]) == ["A) x", "plain"]
    with pytest.raises(ValueError, match="no options"):
        listed("red or blue")


def test_options_in_columns_end_at_the_last_text():
    assert in_columns({"A": "1", "B": "2", "C": None, "D": " "}) == ["1", "2"]
    assert in_columns({"A": "1", "B": float("nan")}) == ["1"]
    assert in_columns({"question": "Which?"}) == []


@pytest.mark.parametrize("empty", [None, float("nan"), "  "])
def test_question_with_an_empty_option_before_another_is_left_out(empty):
    with pytest.raises(LeftOut, match="malformed.*the option C is empty, and D is not"):
        in_columns({"A": "1", "B": "2", "C": empty, "D": "4"})


@given(st.lists(st.integers(), min_size=1, max_size=8, unique=True), st.text())
def test_shuffled_options_keep_their_truth(options, key):
    texts = list(map(str, options))
    order, letter = shuffled(texts, 0, key)
    assert sorted(order) == sorted(texts) and order["ABCDEFGH".index(letter)] == texts[0]
    assert shuffled(texts, 0, key) == (order, letter)


@given(st.lists(st.sampled_from(["red", "dark blue", "3 cm", "left of it"]), min_size=2, max_size=6))
def test_written_options_are_read_again(options):
    assert split_options(with_options("Which one?", options)) == ("Which one?", options)
