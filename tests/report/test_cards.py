# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.report.cards import card, segments
from verl_mapo.rollout.statuses import TurnStatus
from verl_mapo.rollout.trajectory import Turn


def boxes(original):
    return [(box.kind, box.turn, box.x, box.y, box.width, box.height) for box in original.boxes]


def test_card_has_the_original_with_boxes_and_the_image_of_each_call(make_rollout, tmp_path):
    drawn = card("#0", make_rollout(), tmp_path)
    (original,) = drawn.originals
    assert (original.width, original.height) == (448, 300) and original.url.startswith("data:image/jpeg")
    assert boxes(original) == [("returned", 1, 60, 40, 60, 60)]
    zoom, answer = drawn.turns
    assert zoom.turn.called and zoom.image.startswith("data:image/jpeg")
    assert zoom.area == 60 * 60 / (448 * 300)
    assert not answer.turn.called and answer.image == "" and answer.area is None


def test_requested_box_is_drawn_where_it_was_recorded(make_rollout, make_turn, tmp_path):
    drawn = card("#0", make_rollout(turns=[make_turn(box_asked=(62.5, 44, 110, 96))]), tmp_path)
    assert boxes(drawn.originals[0]) == [("requested", 1, 62.5, 44, 47.5, 52), ("returned", 1, 60, 40, 60, 60)]


def test_every_original_is_drawn_with_its_own_boxes(make_rollout, make_turn, make_view, picture, tmp_path):
    rollout = make_rollout(images=[picture, picture], turns=[make_turn(view=make_view(image=1))])
    assert [len(original.boxes) for original in card("#0", rollout, tmp_path).originals] == [0, 1]


def test_missing_original_keeps_its_size_and_boxes(make_rollout, tmp_path):
    drawn = card("#0", make_rollout(images=["/nowhere/gone.png"]), tmp_path)
    (original,) = drawn.originals
    assert (original.url, original.name, original.width, original.height) == ("", "gone.png", 448, 300)
    assert len(original.boxes) == 1 and drawn.turns[0].image == ""


def test_refused_call_and_a_cut_turn_have_no_boxes(make_rollout, tmp_path):
    refused = Turn((0, 3), "x", TurnStatus.BAD_BOX, "zoom", box_said=(900.0, 0.0, 950.0, 9.0))
    drawn = card("#0", make_rollout(turns=[refused, Turn((5, 9), "y", TurnStatus.CUT)]), tmp_path)
    assert [drawn_turn.turn.called for drawn_turn in drawn.turns] == [True, False]
    assert drawn.originals[0].boxes == []


def test_shared_start_of_the_first_turn_is_left_out(make_rollout, make_turn, tmp_path):
    call = '<tool_call>{"name": "zoom", "arguments": {"label": "a"}}</tool_call>'
    rollout = make_rollout(turns=[make_turn(text=f"Hm. {call}"), make_turn(text=f"Hm. {call}")])
    first, second = card("#8", rollout, tmp_path, shared="Hm. <tool_call>").turns
    assert first.segments == [("call", 'zoom\n  label: "a"')]
    assert second.segments == [("text", "Hm."), *first.segments]
    (other, _) = card("#8", rollout, tmp_path, shared="Ha. <tool_call>").turns
    assert other.segments == second.segments


def test_call_has_one_line_for_each_argument():
    text = 'I look. <tool_call>\n{"name": "zoom", "arguments": {"label": "é", "bbox_2d": [1, 2]}}\n</tool_call>'
    assert segments(text) == [("text", "I look."), ("call", 'zoom\n  label: "é"\n  bbox_2d: [1, 2]')]


def test_broken_call_is_shown_as_it_is():
    assert segments("<tool_call>{</tool_call> b") == [("call", "{"), ("text", "b")]
    assert segments("<tool_call>[1]</tool_call>") == [("call", "[1]")]
    assert segments("<tool_call>{") == [("text", "<tool_call>{")]
    assert segments("") == []


def test_long_text_keeps_its_start_and_its_end():
    ((kind, piece),) = segments("a" * 5000 + "b")
    assert kind == "text" and len(piece) < 900
    assert piece.startswith("aaa") and piece.endswith("ab") and "4251 characters left out" in piece


@given(st.text() | st.text().map(lambda text: f"<tool_call>{text}</tool_call>"))
def test_any_text_of_a_model_has_segments(text):
    assert all(kind in ("text", "call") and piece for kind, piece in segments(text))
