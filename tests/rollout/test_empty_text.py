# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Texts that repeat themselves are told from texts that do not."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_mapo.rollout import empty_text
from verl_mapo.rollout.empty_text import END, repeats_itself

WORDS = st.text("abcdefghijklmnopqrstuvwxyz .,0123456789", min_size=1, max_size=400)


@settings(max_examples=30)
@given(phrase=WORDS, before=st.text(max_size=50), cut=st.integers(0, 399))
def test_any_phrase_of_up_to_400_characters_again_and_again_repeats_itself_whatever_comes_before(phrase, before, cut):
    assert repeats_itself(before + phrase * (END // len(phrase) + 1) + phrase[:cut])


@settings(max_examples=30)
@given(st.text(max_size=60))
def test_no_text_of_a_few_words_repeats_itself(text):
    assert not repeats_itself(text) or len(set(text)) < 3


def test_prose_code_tables_and_boxes_do_not_repeat_themselves():
    numbers = random.Random(1)
    boxes = [{"bbox_2d": [numbers.randrange(1000) for _ in range(4)], "label": "red car"} for _ in range(200)]
    texts = {
        "code": open(empty_text.__file__).read(),
        "prose": open(__file__).read(),
        "boxes": json.dumps(boxes, indent=1),
        "table": "\n".join(f"| row {row} | {numbers.random():.3f} | yes |" for row in range(300)),
        "count": " ".join(map(str, range(3000))),
    }
    assert [name for name, text in texts.items() if repeats_itself(text)] == []


@pytest.mark.parametrize("text", ["!" * 500, "the " * 100, "\ud800" * 500, "So it is red. " * 40])
def test_loops_of_a_few_characters_repeat_themselves(text):
    assert repeats_itself(text)
