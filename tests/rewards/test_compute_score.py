# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The accuracy alone, called as verl's reward managers call it."""

import pytest

from verl_mapo.rewards.compute_score import compute_score


@pytest.mark.parametrize(
    ("response", "truth", "score"),
    [
        (r"<think>2 or 3?</think> It is \boxed{\frac{1}{2}}.", r"\boxed{0.5}", 1.0),
        (r"\boxed{17}", r"\boxed{17^\circ}", 1.0),
        (r"So (B): \boxed{B}", "B", 1.0),
        (r"\boxed{C}", r"\boxed{B}", 0.0),
        ("<answer>dog</answer>", ["cat", "Dog"], 1.0),
        ("", "", 0.0),
    ],
)
def test_score_is_1_for_a_correct_answer_and_0_otherwise(response, truth, score):
    given = {"data_source": "ViRL39K", "extra_info": {"index": 1, "num_turns": 2}}
    assert compute_score(solution_str=response, ground_truth=truth, **given) == score
