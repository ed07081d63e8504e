# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""MAPO in the trainer: its metrics against values counted by hand, and the check of the reward manager."""

from __future__ import annotations

import pytest
import torch
from support.fake_queue import scored_rows
from support.scripted import compose_config

from verl_mapo.advantages.mapo import MapoSettings, mapo_advantage
from verl_mapo.columns import ABSENT, SCORED, UNSCORED
from verl_mapo.rollout.statuses import EndReason, TurnStatus
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.settings import ConfigError
from verl_mapo.training.mapo import Mapo, mapo_metrics


def test_metrics_count_original_rollouts_and_groups_at_their_floors():
    outcome = torch.tensor([1.0, 0.0, 1.0, 1.0, 9.0])
    status = torch.tensor([[SCORED], [UNSCORED], [SCORED], [SCORED], [ABSENT]], dtype=torch.int8)
    scores = torch.tensor([[0.4], [float("nan")], [0.2], [0.2], [float("nan")]])
    spans, mask = torch.tensor([[[0, 1]]] * 5), torch.ones(5, 1)
    group, counted = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([True] * 4 + [False])
    result = mapo_advantage(outcome, scores, status, spans, mask, group, MapoSettings())
    metrics = mapo_metrics(result, outcome, status, counted)
    assert metrics["mapo/outcome/mean"] == pytest.approx(0.75)
    assert metrics["mapo/alignment/mean"] == pytest.approx(0.8 / 3)
    assert metrics["mapo/alignment/unscored_share"] == pytest.approx(1 / 4)
    assert metrics["mapo/std_floor/outcome_share"] == 0.5, "the second group has equal outcomes"
    assert metrics["mapo/std_floor/alignment_share"] == 1.0, "the first group has one score and is not counted"


def test_alignment_metrics_are_left_out_where_nothing_is_scored():
    status, mask = torch.full((2, 1), ABSENT, dtype=torch.int8), torch.ones(2, 1)
    group, spans = torch.tensor([0, 0]), torch.full((2, 1, 2), -1)
    result = mapo_advantage(torch.tensor([1.0, 0.0]), torch.zeros(2, 1), status, spans, mask, group, MapoSettings())
    metrics = mapo_metrics(result, torch.tensor([1.0, 0.0]), status, torch.tensor([True, True]))
    assert "mapo/alignment/mean" not in metrics and metrics["mapo/alignment/unscored_share"] == 0


@pytest.fixture
def advantages_of_pair(queue, make_trainer):
    """The advantages of a right and a wrong rollout of one prompt, whose visual turns have these scores."""

    def run(scores: list[float | None], *overrides: str) -> list[float]:
        turns = [Turn((0, 1), "x", TurnStatus.OK, tool="zoom", described=True, score=score) for score in scores]
        trajectories = [Trajectory([], [], [turn], EndReason.ANSWER) for turn in turns]
        queue.fields.update(scored_rows([torch.ones(2)] * 2, [1.0, 0.0], trajectories))
        columns = [trajectory.columns(1) for trajectory in trajectories]
        queue.fields.update({name: torch.stack([column[name] for column in columns]) for name in columns[0]})
        queue.fields["uid"] = ["a", "a"]
        make_trainer("method=mapo", *overrides)._compute_advantage(queue.batch(["a_0_0", "a_1_0"]), {})
        rows = [row.tolist() for row in queue.fields["advantages"].unbind()]
        assert all(len(set(row)) == 1 for row in rows), "every token of a rollout has the same advantage"
        return [row[0] for row in rows]

    return run


def test_without_division_by_std_outcome_and_alignment_are_only_centred(advantages_of_pair):
    advantages = advantages_of_pair([0.3, 0.1], "algorithm.norm_adv_by_std_in_grpo=false")
    assert advantages == pytest.approx([0.5 + 0.4 * 0.1, -0.5 - 0.4 * 0.1])


def test_advantage_beside_an_unscored_rollout_is_that_of_the_outcome(advantages_of_pair):
    root = 0.5**0.5
    assert advantages_of_pair([0.3, 0.1]) == pytest.approx([1.4 * root, -1.4 * root], abs=1e-4)
    assert advantages_of_pair([0.3, None]) == pytest.approx([root, -root], abs=1e-4), "unscored is not zero"


@pytest.mark.parametrize(
    ("overrides", "asker"),
    [
        (["method=mapo"], "algorithm.adv_estimator=mapo"),
        (["method=axpo", "algorithm.axpo.alignment=true"], "algorithm.axpo.alignment=true"),
    ],
)
def test_reward_manager_without_alignment_scores_is_refused(overrides, asker):
    Mapo(compose_config(*overrides)).check()
    with pytest.raises(ConfigError, match=f"gives no alignment scores, which {asker} needs"):
        Mapo(compose_config(*overrides, "reward.reward_manager.name=naive")).check()
