# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A reward function for verl's own reward managers: the accuracy alone, without a trajectory or a scorer.

``reward.custom_reward_function.path=pkg://verl_mapo.rewards.compute_score`` chooses it.
"""

from __future__ import annotations

from typing import Any

from verl_mapo.rewards.answers import extract, truths_of
from verl_mapo.rewards.math_process import check_math


def compute_score(solution_str: str, ground_truth: Any, **_: Any) -> float:
    """1 if the answer in a response equals the ground truth, exactly or mathematically; else 0.

    Args:
        solution_str: the whole response; :func:`~verl_mapo.rewards.answers.extract` finds its answer.
        ground_truth: an answer or a list of accepted ones, bare or in a ``\\boxed{}``.
    """
    answer = extract(solution_str)
    return float(bool(answer) and any(check_math(answer, extract(truth)) for truth in truths_of(ground_truth)))
