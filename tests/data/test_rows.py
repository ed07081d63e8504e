# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The neutral row: its schema, what a converter makes of an example, and what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from verl_mapo.data.pictures import Picture
from verl_mapo.data.reasons import INTENDED, REASONS, LeftOut
from verl_mapo.data.row_faults import check_row
from verl_mapo.data.rows import make_row, need, schema
from verl_mapo.settings import ConfigError

RED = {"style": "exact", "ground_truth": "red", "options": None}
PICTURE = Picture(Path("/folder/a.jpg"), 40, 30)


def reason_of(call, *arguments) -> str:
    with pytest.raises(LeftOut) as left:
        call(*arguments)
    return left.value.reason


def test_row_has_everything_and_fits_the_schema():
    row = make_row(
        "s", 3, "Which?", [PICTURE] * 2, RED, id=7, boxes=[(1, 2, 3, 4)], difficulty=1, more={"é": Path("x")}
    )
    assert row == {
        "data_source": "s",
        "prompt": [{"role": "user", "content": "<image><image>\nWhich?"}],
        "images": [{"image": "file:///folder/a.jpg"}] * 2,
        "reward_model": RED,
        "extra_info": {"index": 3, "id": "7", "boxes": [[1, 2, 3, 4]], "difficulty": 1, "more": '{"é": "x"}'},
    }
    assert pa.Table.from_pylist([row], schema()).to_pylist() == [row]
    assert check_row(row, "s") is None


def test_row_with_little_has_the_rest_empty():
    extra = make_row("s", 3, " Which <image>? ", [PICTURE], RED)["extra_info"]
    assert extra == {"index": 3, "id": "3", "boxes": None, "difficulty": None, "more": "{}"}


@pytest.mark.parametrize("unknown", [None, float("nan"), float("inf"), "nan"])
def test_a_difficulty_that_is_no_number_is_none(unknown):
    assert make_row("s", 0, "Which?", [], RED, difficulty=unknown)["extra_info"]["difficulty"] is None


def test_limit_of_pixels_is_a_column_only_where_it_is_asked_for():
    assert [field.name for field in schema().field("images").type.value_type] == ["image"]
    assert [field.name for field in schema(True).field("images").type.value_type] == ["image", "max_pixels"]


@pytest.mark.parametrize(
    ("question", "reason"), [(" <image>\n", "empty_question"), ("<image> a <image>", "image_marks")]
)
def test_question_that_does_not_fit_its_images_is_left_out(question, reason):
    assert reason_of(make_row, "s", 0, question, [PICTURE], RED) == reason


def test_needed_value_is_there_and_of_its_type():
    assert need({"a": "x"}, "a") == "x" and need({"a": [1]}, "a", list) == [1]
    assert reason_of(need, {"a": None}, "a") == reason_of(need, {}, "a") == "missing_column"
    assert reason_of(need, {"a": 1}, "a") == "malformed"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ({"ground_truth": " "}, "empty_answer"),
        ({"style": "multiple_choice", "ground_truth": "C", "options": ["a", "b"]}, "impossible_answer"),
        ({"style": "numeric"}, "impossible_answer"),
        ({"style": "yes_no"}, "impossible_answer"),
    ],
)
def test_truth_that_no_answer_can_equal_is_left_out(target, reason):
    if target.get("style") == "yes_no":
        target = target | {"ground_truth": "..."}
    assert reason_of(check_row, make_row("s", 0, "Which?", [], RED | target), "s") == reason


@pytest.mark.parametrize("tag", ["tool_call", "grounding"])
def test_text_about_other_tools_is_left_out_and_a_form_of_the_answer_may_be_asked_for(tag):
    row = make_row("s", 0, f"Which? Use <{tag}>{{}}</{tag}>", [], RED)
    assert reason_of(check_row, row, "s") == "tool_text"
    assert check_row(make_row("s", 0, "Which? Write <answer>...</answer>.", [], RED), "s") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ability": "x"}, "s: a row has 'ability'; its keys are data_source, prompt"),
        ({"reward_model": {"style": "exact", "ground_truth": "a"}}, "reward_model lacks 'options'"),
        ({"extra_info": {"index": 0, "qid": "a"}}, "extra_info lacks 'boxes'"),
        ({"images": [{"image": "a.jpg"}]}, "must be what Picture.as_image"),
        ({"images": [{"image": "file:///a.jpg", "max_pixels": 3}]}, "must be what Picture.as_image"),
        ({"prompt": [{"role": "user"}]}, "a message of prompt lacks 'content'"),
    ],
)
def test_code_that_makes_other_rows_is_told_so(change, message):
    with pytest.raises(ConfigError, match=message):
        check_row(make_row("s", 0, "Which?", [], RED) | change, "s")


def test_images_of_another_number_than_marks_are_left_out():
    row = make_row("s", 0, "Which?", [], RED) | {"images": [PICTURE.as_image()]}
    assert reason_of(check_row, row, "s") == "image_marks"


def test_reasons_are_known_and_described():
    assert set(INTENDED) < set(REASONS) and all(REASONS.values())
    with pytest.raises(ValueError, match="'odd' is no reason"):
        LeftOut("odd", "x")
    assert json.dumps(REASONS)
