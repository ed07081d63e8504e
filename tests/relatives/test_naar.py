# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Beacon's NAAR: by hand, against a loop over rollouts, and in a step of the trainer."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tool_credit import NO_LOSS, groups_of, rows_of_calls, step_of

from verl_mapo.advantages.groups import grpo_advantage
from verl_mapo.relatives.naar import Naar, NaarSettings, naar_advantage


def advantage_of(rows, **settings):
    return naar_advantage(rows.outcome, rows.calls, rows.mask, rows.group, NaarSettings(**settings))


@pytest.mark.parametrize(
    ("outcome", "calls", "reward"),
    [
        ([1, 1, 0, 0], [0, 2, 0, 1], [1, 0.25, 0, 0]),
        ([1, 1, 0, 0], [1, 2, 0, 1], [1, 1, 0, 0]),
        ([0.5, 1, 1], [0, 1, 1], [0.5, 1, 1]),
        ([1, 0.5, 1], [0, 1, 1], [1, 0.5, 0.25]),
    ],
    ids=["a text-only success", "none", "a half is no success", "a half is not reduced"],
)
def test_reward_by_hand(outcome, calls, reward):
    found = advantage_of(rows_of_calls(outcome, calls))
    assert found.reward.tolist() == reward
    expected = grpo_advantage(
        torch.tensor(reward, dtype=torch.float64), torch.ones(len(reward), 2), torch.zeros(len(reward)).long()
    )
    assert torch.equal(found.advantages, expected)


def test_text_only_success_of_another_question_or_without_a_token_in_the_loss_does_not_count():
    other = advantage_of(rows_of_calls([1, 1, 0], [0, 1, 0], group=[0, 1, 1]))
    assert other.reward.tolist() == [1, 1, 0] and other.answerable.tolist() == [True, False]
    masked = advantage_of(rows_of_calls([1, 1, 0], [0, 1, 0], masks=[NO_LOSS, [1, 1], [1, 1]]))
    assert masked.reward.tolist() == [1, 1, 0] and masked.answerable.tolist() == [False]


@given(groups_of(), st.sampled_from([0.0, 0.25, 1.0]))
def test_reward_equals_that_of_a_loop(rows, share):
    found = advantage_of(rows, needless_share=share)
    for row in range(len(rows.outcome)):
        peers = [other for other in range(len(rows.outcome)) if rows.live[other] and rows.same(row, other)]
        solved = any(rows.outcome[other] == 1 and rows.calls[other] == 0 for other in peers)
        needless = row in peers and rows.outcome[row] == 1 and rows.calls[row] > 0 and solved
        assert found.needless[row] == needless
        assert found.reward[row] == (share * rows.outcome[row] if needless else rows.outcome[row])
    assert torch.equal(found.advantages, grpo_advantage(found.reward, rows.mask, rows.group))


def test_step_of_the_trainer_writes_advantages_metrics_and_records(queue, make_trainer):
    trainer, metrics = step_of(queue, make_trainer, "method=naar", [1.0, 1.0, 0.0, 0.0], [0, 1, 0, 1])
    expected = advantage_of(rows_of_calls([1, 1, 0, 0], [0, 1, 0, 1])).advantages[:, 0]
    assert [row[0].item() for row in queue.fields["advantages"].unbind()] == pytest.approx(expected.tolist(), abs=1e-5)
    assert metrics["naar/answerable_share"] == 1 and metrics["naar/needless_share"] == 0.25
    assert metrics["naar/called_share"] == 0.5
    assert trainer.methods[0].records(trainer.last_step)[1] == {Naar.record_keys[0]: 0.25}
