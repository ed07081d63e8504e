# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Dialogues as rows: the form of a call, and what is no dialogue."""

from __future__ import annotations

import json

import pytest

from tests.support.published import Converted, png, put
from verl_mapo.data.base import LeftOut
from verl_mapo.data.supervised import Dialogue, SupervisedSet, fractions_of, zoom_turn
from verl_mapo.rollout.parser import read_calls

CALL = '<tool_call>\n{"name": "zoom", "arguments": {"bbox_2d": [100, 200, 500, 600], "img_idx": 0}}\n</tool_call>'


class Told(SupervisedSet):
    """Turns as they are given."""

    name = "told"

    def dialogue(self, index, example, pictures):
        return Dialogue("What?", [pictures.of(example["image"])], example["turns"], str(index), {"level": 1})


def test_dialogue_becomes_a_row_with_turns(tmp_path):
    turns = [f"<think>Look.</think>\n{CALL}", "<think>Red.</think>\n<answer>red</answer>"]
    put(tmp_path / "a" / "all.parquet", [{"image": png(), "turns": turns}])
    done = Converted(Told, tmp_path / "a")
    assert done.row["turns"] == turns and done.target == ("exact", "red") and done.question == "<image>\nWhat?"
    assert done.row["extra_info"]["more"] == {"box_units": "normalized_1000", "level": 1}


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([], "unfinished"),
        ([CALL], "unfinished"),
        ([CALL, ""], "unfinished"),
        (["no call", "<answer>red</answer>"], "malformed"),
        ([f"{CALL} and more", "<answer>red</answer>"], "malformed"),
        ([f"{CALL}\n{CALL}", "<answer>red</answer>"], "malformed"),
        ([f"<think>{CALL}", "<answer>red</answer>"], "malformed"),
    ],
)
def test_other_dialogues_are_left_out(turns, reason, tmp_path):
    good = ["<answer>red</answer>"]
    put(tmp_path / "a" / "all.jsonl", [{"image": "b.png", "turns": one} for one in (turns, good)])
    put(tmp_path / "a" / "b.png", png())
    done = Converted(Told, tmp_path / "a", max_left_out=0.5)
    assert done.reasons == {reason: 1} and done.row["turns"] == good


def test_call_is_written_in_thousandths_behind_its_text():
    assert zoom_turn(" Look.\n", [0.1, 0.2, 0.5, 0.6], 0) == f"Look.\n{CALL}"
    assert zoom_turn("", [-0.005, 0.2, 1.009, 0.6], 2).count('"bbox_2d": [0, 200, 1000, 600], "img_idx": 2') == 1


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([0, 0, 1.2, 1], "box_outside"),
        ([0.5, 0, 0.5, 1], "box_outside"),
        ([0.6, 0, 0.5, 1], "box_outside"),
        ([0.5, 0.1, 0.5002, 0.2], "box_outside"),
        ([0.1, 0.2, 0.3], "malformed"),
        (["a", 0, 0, 1], "malformed"),
        (None, "malformed"),
        ([float("nan"), 0, 1, 1], "box_outside"),
    ],
)
def test_box_that_is_none_is_left_out(box, reason):
    with pytest.raises(LeftOut) as caught:
        zoom_turn("", box, 0)
    assert caught.value.reason == reason


def test_box_in_pixels_is_a_part_of_the_sides():
    assert fractions_of([40, 20, 200, 100], (400, 200)) == [0.1, 0.1, 0.5, 0.5]


def test_call_is_json_that_the_loop_reads():
    [call] = read_calls(zoom_turn("text", [0, 0, 1, 1], 1))
    assert json.loads(json.dumps(call.arguments)) == {"bbox_2d": [0, 0, 1000, 1000], "img_idx": 1} and not call.lenient
