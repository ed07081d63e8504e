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
