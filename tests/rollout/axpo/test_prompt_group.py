# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The trigger, the candidates and the columns of one prompt, without rollouts."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace

import pytest
import torch

from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.columns import AXPO_COLUMNS, CONTINUATION, PLAIN, SOURCE
from verl_mapo.rollout.axpo.first_call import FirstCall
from verl_mapo.rollout.axpo.prompt_group import Continuations, FinishedRollout, PromptGroup
from verl_mapo.rollout.statuses import TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn


def rollout(key: str, outcome: float | None, tool: bool = True, confidence: float = 0.5) -> FinishedRollout:
    turns = [Turn((0, 9), "", TurnStatus.OK if tool else TurnStatus.ANSWER)]
    state = SimpleNamespace(trajectory=Trajectory([], turns=turns))
    return FinishedRollout([key], state, outcome, FirstCall(4, confidence, 1 - confidence) if tool else None)


def group(*rollouts: FinishedRollout) -> PromptGroup:
    made = PromptGroup(len(rollouts))
    made.finished = dict(enumerate(rollouts))
    return made


@pytest.mark.parametrize(
    ("rollouts", "triggered"),
    [
        ([rollout("a", 0.0), rollout("b", 0.0)], True),
        ([rollout("a", 0.0), rollout("b", 1.0, tool=False)], True),
        ([rollout("a", 0.0), rollout("b", 1.0)], False),
        ([rollout("a", 0.0, tool=False)], False),
        ([FinishedRollout(["a"], None, 0.0)], False),
    ],
)
def test_group_triggers_when_all_tool_users_are_wrong(rollouts, triggered):
    assert group(*rollouts).triggered is triggered


def test_group_with_a_failed_rollout_does_not_trigger():
    made = group(rollout("a", 0.0))
    made.failed = True
    assert not made.triggered and made.candidates(AxpoSettings(), Random(0)) == []


def test_tool_user_whose_outcome_is_not_known_is_not_known_to_be_wrong():
    assert not group(rollout("a", 0.0), rollout("b", None)).triggered
    assert group(rollout("a", 0.0), rollout("b", None, tool=False)).triggered


@pytest.mark.parametrize(("rank", "order"), [("confidence", [1, 2, 0]), ("entropy", [1, 2, 0])])
def test_least_certain_call_comes_first(rank, order):
    made = group(*(rollout(str(i), 0.0, confidence=c) for i, c in enumerate([0.9, 0.4, 0.6])))
    assert [session for _, session in made.candidates(AxpoSettings(prefix_rank=rank), Random(0))] == order


def test_columns_tell_sources_continuations_and_plain_rows_apart():
    made = group(rollout("a", 0.0), rollout("b", 0.0, confidence=0.25), rollout("c", 1.0, tool=False))
    made.continuations = [Continuations(1, 4, ["d", "e"], lost=1), Continuations(0, 4, [], lost=2)]
    made.seconds = 1.5
    keys, columns = made.columns()
    assert keys == ["a", "b", "c", "d", "e"] and set(columns) == {column.name for column in AXPO_COLUMNS}
    assert columns["role"].tolist() == [PLAIN, SOURCE, PLAIN, CONTINUATION, CONTINUATION]
    assert columns["prefix_length"].tolist() == [0, 4, 0, 4, 4]
    assert columns["prefix_id"].tolist() == [-1, 1, -1, 1, 1]
    assert columns["lost"].tolist() == [2, 1, 0, 0, 0]
    assert columns["confidence"][:2].tolist() == [0.5, 0.25] and columns["confidence"][2:].isnan().all()
    assert torch.equal(columns["explore_seconds"], torch.full((5,), 1.5))


def test_fresh_rollouts_have_no_source():
    made = group(rollout("a", 0.0))
    made.continuations = [Continuations(0, 0, ["b"])]
    _, columns = made.columns()
    assert columns["role"].tolist() == [PLAIN, CONTINUATION] and columns["prefix_id"].tolist() == [-1, 0]
