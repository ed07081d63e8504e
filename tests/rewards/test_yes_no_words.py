# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Other words for yes and no; the corpus of answers has more of them."""

import pytest

from verl_mapo.rewards.answers import yes_no
from verl_mapo.rewards.yes_no_words import as_yes_or_no


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("yeah", "Yes"),
        ("**Nope**.", "No"),
        ("是的。", "Yes"),
        ("没有", "No"),
        ("Yep, a dog.", "Yes, a dog"),
        ("無", "No"),
    ]
    + [
        (text, text)
        for text in ("Yes.", "no", "是红色", "yeah right", "Yepes", "不是红色", "", "nah nah", "Say yep, now")
    ],
)
def test_word_is_read_where_it_is_the_answer(text, read):
    assert as_yes_or_no(text) == read


@pytest.mark.parametrize("truth", ["yes", "是", "是的", "Yes."])
def test_answer_and_truth_may_use_different_words(truth):
    assert all(yes_no(answer, truth) for answer in ("Yes", "是", "yup", "有的", "Yeah, it is."))
    assert not any(yes_no(answer, truth) for answer in ("No", "否", "nope", "没有", "Yeah, no", "red"))
