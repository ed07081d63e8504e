# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Sets of columns: versions of a name, forms of a question, instructions that are stripped."""

from __future__ import annotations

import pytest

from tests.support.published import Converted, png, put
from verl_mapo.data.base import LeftOut
from verl_mapo.data.published import (
    Columns,
    PublishedSet,
    first_of,
    question_in,
    text_in,
    without_last_sentences,
    without_leading,
)
from verl_mapo.settings import ConfigError


class Small(PublishedSet):
    """Two names for a question, instructions and a column of its own."""

    name = "small"
    columns = Columns(("problem", "extra.question"), ("answer",), ("images",), id=("key",), more=("extra.level",))
    instructions = (r"\s*Answer with", r"\s*Think")
    leading = r"Question:\s*"


EXAMPLE = {
    "problem": "<image>\nQuestion: What is red? Think hard. Answer with a word.",
    "answer": ["apple", "the apple"],
    "images": [{"bytes": png(), "path": None}],
    "key": "first",
    "extra": {"level": 3, "question": "another"},
}


def test_row_is_made_from_the_columns(tmp_path):
    put(tmp_path / "a" / "all.parquet", [EXAMPLE])
    done = Converted(Small, tmp_path / "a")
    assert done.question == "<image>\nWhat is red?" and done.target == ("exact", "apple") and done.sizes == [(40, 30)]
    extra = done.row["extra_info"]
    assert extra["id"] == "first" and extra["boxes"] is None and done.row["data_source"] == "small"
    assert extra["more"] == {"level": 3, "accepted_answers": ["apple", "the apple"]}


def test_missing_column_is_refused_with_what_was_expected_and_found(tmp_path):
    put(tmp_path / "a" / "all.jsonl", [{"text": "What?", "answer": "yes", "images": []}])
    with pytest.raises(
        ConfigError, match=r"expected the column problem or extra\.question; found text, answer, images"
    ):
        Converted(Small, tmp_path / "a")


@pytest.mark.parametrize(
    ("names", "value"), [(("b", "a"), 1), (("c.d",), 2), (("c.x", "c.d"), 2), (("a.b", "b.c", "a"), 1)]
)
def test_first_name_that_an_example_holds_is_read(names, value):
    assert first_of({"a": 1, "b": None, "c": {"d": 2}}, names) == value


def test_column_may_be_absent_where_a_default_is_given():
    assert first_of({"a": 1}, ("b",), None) is None


@pytest.mark.parametrize(
    "value",
    [
        "What?",
        [{"role": "system", "content": "Tools"}, {"role": "user", "content": "What?"}],
        [{"from": "human", "value": "First?"}, {"from": "gpt", "value": "x"}, {"from": "human", "value": "What?"}],
        [{"role": "user", "content": [{"type": "text", "text": "What?"}]}],
    ],
)
def test_question_is_the_text_of_the_last_user(value):
    assert question_in(value) == "What?"


def test_messages_without_a_user_are_malformed():
    with pytest.raises(LeftOut, match="no message of the user"):
        question_in([{"role": "system", "content": "Tools"}])


def test_image_parts_of_a_message_become_marks():
    assert text_in([{"text": "a", "image": None}, {"image": "x.png"}, "b"]) == "a<image>b"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("How many steps are there? Put it in \\boxed{}.", "How many steps are there?"),
        ("Name it. Explain each step. Finally, use \\boxed{}. ", "Name it."),
        ("Put it in \\boxed{}.", "Put it in \\boxed{}."),
        ("Name it.\nUse \\boxed{} here\n", "Name it."),
        ("Use \\boxed{}. Name it.", "Use \\boxed{}. Name it."),
    ],
)
def test_last_sentences_about_the_format_are_stripped(text, kept):
    assert without_last_sentences(text, r"\\boxed|\bstep") == kept


def test_leading_words_are_stripped_behind_the_images():
    assert without_leading("<image><image>\nQuestion: Question: Why?", r"Question:\s*") == "<image><image>\nWhy?"
    assert without_leading("Why? Question: no", r"Question:\s*") == "Why? Question: no"
