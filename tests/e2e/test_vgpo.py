# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Real runs with visual credit, alone and composed: the engine returns focus scores, the trainer multiplies."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from pathlib import Path

import pytest
from support.checked_run import N, check_credit, check_groups
from support.real_run import PROMPTS, rollouts_of, toy_overrides, train

from verl_mapo.training.token_records import TOKEN_ROLLOUTS

pytestmark = pytest.mark.e2e

VOWELS = Path(__file__).parent.parent / "support" / "vowels.py"


def combinations(*always: tuple[str, str]) -> pytest.MarkDecorator:
    """Both families in both modes; those that are not named run with ``-m matrix`` alone."""
    everything = product(("qwen2_5_vl", "qwen3_vl"), ("sync", "colocate_async"))
    cases = [pytest.param(*each, marks=() if each in always else pytest.mark.matrix) for each in everything]
    return pytest.mark.parametrize(("family", "mode"), cases)


@combinations()
def test_vgpo_multiplies_grpo_by_visual_credit(toys, tmp_path, family, mode):
    vgpo = ["method=vgpo", f"reward.custom_reward_function.path={VOWELS}"]  # no group without spread
    metrics = train(tmp_path, [*toy_overrides(toys[family]), *vgpo, f"trainer.v1.trainer_mode={mode}"])
    for step in (1, 2):
        check_credit(metrics[step])
        assert not any(name.startswith(("mapo/", "axpo/")) for name in metrics[step])
        assert mode != "sync" or metrics[step]["training/rollout_probs_diff_max"] < 1e-3
    assert check_tokens_of_whole_groups(tmp_path) == N * PROMPTS


@pytest.mark.matrix
def test_vgpo_trains_on_single_turns_with_dynamic_sampling(toys, tmp_path):
    base = [
        "method=vgpo",
        "actor_rollout_ref.rollout.agent.default_agent_loop=single_turn_agent",
        "actor_rollout_ref.rollout.multi_turn.enable=false",
        "actor_rollout_ref.actor.clip_ratio_high=0.28",
        "algorithm.filter_groups.enable=true",
        "algorithm.filter_groups.metric=acc",
        "reward.reward_manager.name=naive",
        f"reward.custom_reward_function.path={VOWELS}",
    ]
    metrics = train(tmp_path, [*toy_overrides(toys["qwen2_5_vl"]), *base])
    for step in (1, 2):
        groups = defaultdict(list)
        for rollout in rollouts_of(tmp_path, step):
            groups[rollout["uid"]].append(rollout["outcome"])
        assert len(groups) == PROMPTS
        assert all(len(outcomes) == N and len(set(outcomes)) > 1 for outcomes in groups.values()), "mixed groups alone"
        assert metrics[step]["visual_credit/visual_rows"] > 0.9 and metrics[step]["actor/grad_norm"] > 0
        assert metrics[step]["visual_credit/token_factor/mean"] == pytest.approx(1, abs=1e-3)


@combinations(("qwen3_vl", "colocate_async"))
def test_all_three_methods_train_in_one_run(toys, tmp_path, family, mode):
    composed = ["method=axpo", "algorithm.axpo.alignment=true", "algorithm.visual_credit.enable=true"]
    metrics = train(tmp_path, [*toy_overrides(toys[family]), *composed, f"trainer.v1.trainer_mode={mode}"])
    for step in (1, 2):
        check_groups(tmp_path, step, credited=True)
        check_credit(metrics[step])
        assert "mapo/alignment/mean" in metrics[step]
    assert sum(step["axpo/slots/used"] for step in metrics.values()) >= 1
    check_tokens_of_whole_groups(tmp_path)


def check_tokens_of_whole_groups(run: Path) -> int:
    """Step 2 records the tokens of whole groups, up to a number of rollouts; returns that of the rollouts with tokens.

    A group of AXPO has its continuations, too: how many groups fit depends on what was sampled.
    """
    groups = defaultdict(list)
    for rollout in rollouts_of(run, 2):
        groups[rollout["uid"]].append(rollout["credit"])
    told = [group for group in groups.values() if any(group)]
    assert told and all(all(group) for group in told)
    credits = [credit for group in told for credit in group]
    assert all(len(credit["tokens"]) == len(credit["focus"]) for credit in credits)
    left_out = [len(group) for group in groups.values() if not any(group)]
    assert not left_out or len(credits) + max(left_out) > TOKEN_ROLLOUTS, "a group that fits is recorded"
    return len(credits)
