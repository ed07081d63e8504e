# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Stock estimators are untouched: a seeded stock grpo run logs the same with and without the package."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.real_run import PROMPTS, toy_overrides, train

pytestmark = pytest.mark.e2e

SUPPORT = Path(__file__).parent.parent / "support"
TIMED = ("timing", "perf/", "memory")
# How far vLLM's probabilities and the actor's are apart: rounding, which changes with how vLLM happens to batch.
ROUNDING = ("rollout_corr/", "rollout_probs_diff", "rollout_actor_probs")


def stock(toy) -> list[str]:
    """verl's own agent loop, reward manager and estimator; one seeded rollout a prompt, so that runs repeat."""
    return [
        *toy_overrides(toy),
        "algorithm.adv_estimator=grpo",
        "actor_rollout_ref.rollout.agent.default_agent_loop=single_turn_agent",
        "actor_rollout_ref.rollout.multi_turn.enable=false",
        "actor_rollout_ref.rollout.n=1",
        f"actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu={PROMPTS}",
        f"actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu={PROMPTS}",
        "actor_rollout_ref.rollout.full_determinism=true",
        "reward.reward_manager.name=naive",
        f"reward.custom_reward_function.path={SUPPORT / 'vowels.py'}",
        "reward.custom_reward_function.name=compute_score",
    ]


def test_stock_grpo_logs_the_same_with_and_without_the_package(toys, tmp_path):
    overrides = stock(toys["qwen2_5_vl"])
    with_package = train(tmp_path / "with", overrides)
    without = {"VERL_USE_EXTERNAL_PLUGINS": "none", "VERL_USE_EXTERNAL_MODULES": "only_the_platform"}
    without_package = train(tmp_path / "without", overrides, {**without, "PYTHONPATH": str(SUPPORT)})
    assert sorted(with_package) == sorted(without_package) == [1, 2]
    for step, metrics in with_package.items():
        other = without_package[step]
        assert set(metrics) == set(other)
        for name in (name for name in metrics if not any(word in name for word in TIMED)):
            rounding = 1e-4 if any(word in name for word in ROUNDING) else 1e-5
            assert metrics[name] == pytest.approx(other[name], rel=1e-3, abs=rounding, nan_ok=True), (step, name)
        assert metrics["actor/grad_norm"] > 0 and not any(
            name.startswith(("mapo", "rollout_visual")) for name in metrics
        )
