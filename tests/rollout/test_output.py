# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The row that a rollout becomes."""

from __future__ import annotations

import pytest
from support.scripted import compose_config, play, prompt_of

from verl_mapo.columns import TURN_COLUMNS
from verl_mapo.names import ALIGNMENT_SCORES, OUTCOME_ERROR, TRAJECTORY
from verl_mapo.rollout.trajectory import Trajectory

CALL = '<tool_call>{"name": "zoom", "arguments": {"label": "a square", "bbox_2d": [0, 0, 90, 90]}}</tool_call>'


@pytest.fixture
def output(tiny_models, picture):
    return play(tiny_models["qwen2_5_vl"], compose_config(), prompt_of(picture), [CALL, CALL, "<answer>a</answer>"])


def test_scores_join_their_turns_and_become_columns(output):
    output.extra_fields["reward_extra_info"] = {ALIGNMENT_SCORES: [0.5, None], "alignment": 0.5}
    row = output.as_dict()
    assert row["turn_scores"][0] == 0.5 and row["turn_status"].tolist() == [1, 2, 0, 0]
    assert row["turn_scores"][1].isnan(), "unscored is not zero"
    assert row["extra_fields"]["reward_extra_info"] == {"alignment": 0.5}
    trajectory = Trajectory.from_record(row["extra_fields"][TRAJECTORY])
    assert [turn.score for turn in trajectory.turns] == [0.5, None, None]
    assert trajectory.turns[0].pixels is None, "crops do not go into the row"


def test_scores_pass_over_turns_that_are_not_visual(tiny_models, picture):
    script = ["<tool_call>{", CALL, CALL, "<answer>a</answer>"]
    output = play(tiny_models["qwen2_5_vl"], compose_config(), prompt_of(picture), script)
    output.extra_fields["reward_extra_info"] = {ALIGNMENT_SCORES: [0.5, 0.25]}
    row = output.as_dict()
    turns = Trajectory.from_record(row["extra_fields"][TRAJECTORY]).turns
    assert [turn.score for turn in turns] == [None, 0.5, 0.25, None]
    assert row["turn_scores"][:2].tolist() == [0.5, 0.25]
    assert row["turn_spans"][:2].tolist() == [list(turns[1].span), list(turns[2].span)]


def test_row_is_the_same_when_it_is_made_twice(output):
    output.extra_fields["reward_extra_info"] = {ALIGNMENT_SCORES: [0.5, 0.25]}
    first, second = output.as_dict(), output.as_dict()
    assert list(first) == list(second) and first["extra_fields"] == second["extra_fields"]
    assert first["turn_scores"][:2].tolist() == second["turn_scores"][:2].tolist() == [0.5, 0.25]
    assert output.extra_fields[TRAJECTORY] is output.state.trajectory, "the output itself is not changed"
    assert output.extra_fields["reward_extra_info"] == {ALIGNMENT_SCORES: [0.5, 0.25]}


def test_row_without_an_outcome_is_not_trained_on_and_keeps_the_reason(output):
    terms = {"acc": None, OUTCOME_ERROR: "The answer check x raised KeyError: 'y'.", ALIGNMENT_SCORES: [0.5, 0.25]}
    output.extra_fields["reward_extra_info"] = terms
    for row in (output.as_dict(), output.as_dict()):
        assert not row["response_mask"].any() and len(row["response_mask"]) == len(output.response_ids)
        assert row["extra_fields"]["reward_extra_info"] == {"acc": None}
        assert row["extra_fields"][TRAJECTORY]["error"] == terms[OUTCOME_ERROR]
        assert row["turn_scores"][:2].tolist() == [0.5, 0.25]


def test_row_without_scores_has_a_record_and_no_columns(output):
    row = output.as_dict()
    assert not {column.name for column in TURN_COLUMNS} & set(row)
    assert row["extra_fields"][TRAJECTORY]["end_reason"] == "answer" and not output.join_scores()


def test_wrong_number_of_scores_raises(output):
    output.extra_fields["reward_extra_info"] = {ALIGNMENT_SCORES: [0.5]}
    with pytest.raises(ValueError):
        output.as_dict()
