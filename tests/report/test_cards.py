# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.report.cards import card, segments
from verl_mapo.rollout.trajectory import Turn


def test_a_card_has_scene_boxes_crops_and_words(make_rollout, tmp_path):
    drawn = card("#0", make_rollout(), tmp_path)
    (scene,) = drawn.scenes
    assert (scene.width, scene.height) == (448, 300) and scene.url.startswith("data:image/jpeg")
    assert [(mark.kind, mark.turn, mark.x, mark.y, mark.width, mark.height) for mark in scene.marks] == [
        ("executed", 1, 60, 40, 60, 60)
    ]
    look, answer = drawn.steps
    assert look.called and look.crop.startswith("data:image/jpeg") and not look.asked
    assert look.area == 60 * 60 / (448 * 300)
    assert not answer.called and answer.crop == "" and answer.area is None


def test_the_box_as_said_is_drawn_where_the_record_has_it(make_line, make_rollout, tmp_path):
    record = make_line()["trajectory"]
    record["turns"][0]["box_asked"] = [62.5, 44, 110, 96]
    drawn = card("#0", make_rollout(trajectory=record), tmp_path)
    assert [(mark.kind, mark.x, mark.width) for mark in drawn.scenes[0].marks] == [
        ("said", 62.5, 47.5),
        ("executed", 60, 60),
    ]
    assert drawn.steps[0].asked


def test_every_original_is_a_scene_with_its_own_boxes(make_rollout, make_turn, picture, tmp_path):
    drawn = card("#0", make_rollout(images=[picture, picture], turns=[make_turn(image=1)]), tmp_path)
    assert [len(scene.marks) for scene in drawn.scenes] == [0, 1]


def test_a_lost_image_leaves_size_and_boxes(make_rollout, tmp_path):
    drawn = card("#0", make_rollout(images=["/nowhere/gone.png"]), tmp_path)
    (scene,) = drawn.scenes
    assert (scene.url, scene.name, scene.width, scene.height) == ("", "gone.png", 448, 300)
    assert len(scene.marks) == 1 and drawn.steps[0].crop == ""


def test_a_refused_call_and_a_cut_turn(make_rollout, tmp_path):
    turns = [Turn((0, 3), "x", "bad_box", "zoom", box_said=(900.0, 0.0, 950.0, 9.0)), Turn((5, 9), "y", "cut")]
    drawn = card("#0", make_rollout(turns=turns), tmp_path)
    assert [step.called for step in drawn.steps] == [True, False]
    assert drawn.scenes[0].marks == []


def test_what_is_shared_is_told_elsewhere(make_rollout, make_turn, tmp_path):
    call = '<tool_call>{"name": "zoom", "arguments": {"label": "a"}}</tool_call>'
    rollout = make_rollout(turns=[make_turn(text=f"Hm. {call}"), make_turn(text=f"Hm. {call}")])
    first, second = card("#8", rollout, tmp_path, shared="Hm. <tool_call>").steps
    assert first.segments == [("call", 'zoom\n  label: "a"')]
    assert second.segments == [("text", "Hm."), *first.segments]
    (other, _) = card("#8", rollout, tmp_path, shared="Ha. <tool_call>").steps
    assert other.segments == second.segments


def test_a_call_is_laid_out():
    text = 'I look. <tool_call>\n{"name": "zoom", "arguments": {"label": "é", "bbox_2d": [1, 2]}}\n</tool_call>'
    assert segments(text) == [("text", "I look."), ("call", 'zoom\n  label: "é"\n  bbox_2d: [1, 2]')]


def test_a_broken_call_is_shown_as_it_is():
    assert segments("<tool_call>{</tool_call> b") == [("call", "{"), ("text", "b")]
    assert segments("<tool_call>[1]</tool_call>") == [("call", "[1]")]
    assert segments("<tool_call>{") == [("text", "<tool_call>{")]
    assert segments("") == []


def test_a_long_text_keeps_its_start_and_its_end():
    ((kind, piece),) = segments("a" * 5000 + "b")
    assert kind == "text" and len(piece) < 900
    assert piece.startswith("aaa") and piece.endswith("ab") and "4251 characters left out" in piece


@given(st.text() | st.text().map(lambda text: f"<tool_call>{text}</tool_call>"))
def test_nothing_that_a_model_writes_breaks_it(text):
    assert all(kind in ("text", "call") and piece for kind, piece in segments(text))
