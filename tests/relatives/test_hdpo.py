# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""HDPO: by hand, against a loop over rollouts, beside the form with two losses, and in a step of the trainer."""

from __future__ import annotations

import math
import statistics
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tool_credit import NO_LOSS, groups_of, rows_of_calls, step_of
from verl.trainer.ppo.core_algos import compute_policy_loss_vanilla

from verl_mapo.advantages.groups import EPS, grpo_advantage
from verl_mapo.relatives.hdpo import Hdpo, HdpoSettings, hdpo_advantage


def advantage_of(rows, **settings):
    return hdpo_advantage(rows.outcome, rows.calls, rows.mask, rows.group, HdpoSettings(**settings))


def test_advantage_by_hand():
    """R = 1, 1, 0, 0 and T = 0, 1, 0, 5: r_tool is 1 and 1/2 for the right ones; both parts are +- one number."""
    found = advantage_of(rows_of_calls([1, 1, 0, 0], [0, 1, 0, 5]), weight=0.15)
    out, tool = 0.5 / (math.sqrt(1 / 3) + EPS), 0.25 / (math.sqrt(1 / 8) + EPS)
    assert found.a_out.tolist() == pytest.approx([out, out, -out, -out])
    assert found.a_tool.tolist() == pytest.approx([tool, -tool, 0, 0])
    assert found.advantages[:, 0].tolist() == pytest.approx([out + 0.15 * tool, out - 0.15 * tool, -out, -out])
    assert found.compared.tolist() == [True]


def test_wrong_rollouts_gain_nothing_by_calling_less_and_a_single_right_one_is_not_compared():
    found = advantage_of(rows_of_calls([1, 0, 0], [3, 0, 2]), weight=1.0)
    assert found.a_tool.tolist() == [0, 0, 0] and found.compared.tolist() == [False]


def test_right_rollouts_with_calls_are_compared_where_every_rollout_is_right():
    found = advantage_of(rows_of_calls([1, 1, 1], [0, 0, 2]))
    assert (found.a_out == 0).all() and found.a_tool[0] == found.a_tool[1] > 0 > found.a_tool[2]


def by_loop(rows, weight):
    """Eq. 1 to 4, a rollout at a time, in plain Python."""

    def norm(value, values):
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        return 0.0 if spread < 1e-5 else (value - statistics.fmean(values)) / (spread + EPS)

    found = []
    for row in range(len(rows.outcome)):
        peers = [other for other in range(len(rows.outcome)) if rows.live[other] and rows.same(row, other)]
        right = [other for other in peers if rows.outcome[other] == 1]
        value = norm(rows.outcome[row].item(), [rows.outcome[other].item() for other in peers])
        if row in right:
            economy = [1 / (1 + rows.calls[other].item()) for other in right]
            value += weight * norm(1 / (1 + rows.calls[row].item()), economy)
        found.append(value if rows.live[row] else 0.0)
    return found


@given(groups_of(), st.sampled_from([0.0, 0.15, 2.0]))
def test_advantage_equals_that_of_a_loop(rows, weight):
    found = advantage_of(rows, weight=weight)
    expected = torch.tensor(by_loop(rows, weight), dtype=torch.float64).unsqueeze(1) * rows.mask
    assert torch.allclose(found.advantages, expected, atol=1e-5)
    for value, member in ((found.a_tool, rows.live & (rows.outcome == 1)), (found.a_out, rows.live)):
        sums = torch.zeros(3).index_add_(0, rows.group, torch.where(member, value, 0.0).float())
        assert sums.abs().max() < 1e-4, "each part adds up to 0 within a group"


@given(groups_of())
def test_without_weight_it_is_grpo(rows):
    assert torch.equal(advantage_of(rows, weight=0).advantages, grpo_advantage(rows.outcome, rows.mask, rows.group))


@given(groups_of(), st.randoms(use_true_random=False))
def test_order_of_the_rows_does_not_matter(rows, random):
    order = list(range(len(rows.outcome)))
    random.shuffle(order)
    found, shuffled = advantage_of(rows).advantages, advantage_of(rows.at(order)).advantages
    assert torch.allclose(found[order], shuffled, atol=1e-6)


def test_a_rollout_without_a_token_in_the_loss_changes_nothing():
    rows = rows_of_calls([1, 1, 0, 1], [0, 1, 0, 7], masks=[[1, 1], [1, 1], [1, 1], NO_LOSS])
    found, fewer = advantage_of(rows).advantages, advantage_of(rows_of_calls([1, 1, 0], [0, 1, 0])).advantages
    assert torch.equal(found[:3], fewer) and (found[3] == 0).all()


def test_two_losses_equal_one_where_signs_agree_or_nothing_is_clipped_and_differ_elsewhere():
    config = SimpleNamespace(clip_ratio=0.2, clip_ratio_low=0.2, clip_ratio_high=0.2, global_batch_info={})
    config.get = lambda _, default: default

    def loss(ratio, advantage):
        one = torch.ones(1, 1)
        return compute_policy_loss_vanilla(one * 0, one * math.log(ratio), one * advantage, one, config=config)[
            0
        ].item()

    for ratio, a_out, a_tool, same in (
        (1.1, 1.0, -2.0, True),
        (1.5, 1.0, 2.0, True),
        (0.5, -1.0, -2.0, True),
        (1.5, 1.0, -2.0, False),
        (0.5, 1.0, -2.0, False),
    ):
        two, one = loss(ratio, a_out) + 0.15 * loss(ratio, a_tool), loss(ratio, a_out + 0.15 * a_tool)
        assert (two == pytest.approx(one, abs=1e-6)) is same, (ratio, a_out, a_tool)


def test_step_of_the_trainer_writes_advantages_metrics_and_records(queue, make_trainer):
    trainer, metrics = step_of(queue, make_trainer, "method=hdpo", [1.0, 1.0, 0.0, 0.0], [0, 1, 0, 5])
    expected = advantage_of(rows_of_calls([1, 1, 0, 0], [0, 1, 0, 5])).advantages[:, 0]
    found = [row[0].item() for row in queue.fields["advantages"].unbind()]
    assert found == pytest.approx(expected.tolist(), abs=1e-5)
    assert metrics["hdpo/calls/all"] == 1.5 and metrics["hdpo/calls/right"] == 0.5
    assert metrics["hdpo/compared_share"] == 1
    records = trainer.methods[0].records(trainer.last_step)
    assert set(records[1]) == set(Hdpo.record_keys) and records[1]["a_tool"] < 0 < records[0]["a_tool"]
