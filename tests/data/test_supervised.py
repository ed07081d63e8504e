# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Dialogues as rows: the form of a call, what is no dialogue, and the boxes in the units of each model family."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.support.published import Converted, png, put
from verl_mapo.data.base import LeftOut
from verl_mapo.data.supervised import Dialogue, SupervisedSet, fractions_of, respelled, zoom_turn
from verl_mapo.rollout.parser import read_calls
from verl_mapo.tools.coordinates import CoordinateSpace
from verl_mapo.tools.image_history import ImageHistory, full_view

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


def history() -> ImageHistory:
    """An original that the model sees at half its size, as it does every crop."""

    def half(size):
        return max(size[0] // 2, 1), max(size[1] // 2, 1)

    return ImageHistory.of([full_view(Image.new("RGB", (400, 200)), 0, half)], half)


def boxes(turns: list[str]) -> list[list[float]]:
    return [call.arguments["bbox_2d"] for turn in turns for call in read_calls(turn)]


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (CoordinateSpace.normalized_1000, [[100, 200, 500, 600], [0, 500, 1000, 1000]]),
        (CoordinateSpace.normalized_1, [[0.1, 0.2, 0.5, 0.6], [0, 0.5, 1, 1]]),
        # The original is seen at 200 x 100, the crop [40, 40, 200, 120] of 160 x 80 pixels at 80 x 40.
        (CoordinateSpace.pixels, [[20, 20, 100, 60], [0, 20, 80, 40]]),
    ],
)
def test_boxes_are_written_in_the_units_of_a_family(space, expected):
    turns = [zoom_turn("Look.", [0.1, 0.2, 0.5, 0.6], 0), zoom_turn("", [0, 0.5, 1, 1], 1), "<answer>x</answer>"]
    written = respelled(turns, space, history(), 4)
    assert boxes(written) == expected and written[2] == turns[2] and written[0].startswith("Look.\n<tool_call>\n{")
    if space is CoordinateSpace.normalized_1000:
        assert written == turns


def test_call_of_an_image_that_was_not_shown_is_left_out():
    with pytest.raises(LeftOut, match="there is no image 3"):
        respelled([zoom_turn("", [0, 0, 1, 1], 3)], CoordinateSpace.pixels, history(), 4)


@settings(max_examples=30)
@given(st.integers(0, 900), st.integers(0, 900), st.integers(20, 100), st.integers(20, 100))
def test_pixels_name_the_same_region_within_half_a_pixel(left, top, width, height):
    box = [left, top, left + width, top + height]
    turn = zoom_turn("", [value / 1000 for value in box], 0)
    [said] = boxes(respelled([turn], CoordinateSpace.pixels, history(), 4))
    exact = [box[0] * 0.2, box[1] * 0.1, box[2] * 0.2, box[3] * 0.1]  # the original is seen at 200 x 100
    assert all(abs(one - other) <= 0.5 for one, other in zip(said, exact, strict=True))


def test_box_in_pixels_is_a_part_of_the_sides():
    assert fractions_of([40, 20, 200, 100], (400, 200)) == [0.1, 0.1, 0.5, 0.5]


def test_call_is_json_that_the_loop_reads():
    [call] = read_calls(zoom_turn("text", [0, 0, 1, 1], 1))
    assert json.loads(json.dumps(call.arguments)) == {"bbox_2d": [0, 0, 1000, 1000], "img_idx": 1} and not call.lenient
