# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The accuracy alone, called as verl's reward managers call it."""

import pytest

from verl_mapo.rewards.compute_score import compute_score
from verl_mapo.settings import ConfigError


@pytest.mark.parametrize(
    ("response", "truth", "score"),
    [
        (r"<think>2 or 3?</think> It is \boxed{\frac{1}{2}}.", r"\boxed{0.5}", 1.0),
        (r"\boxed{17}", r"\boxed{17^\circ}", 1.0),
        (r"So (B): \boxed{B}", "B", 1.0),
        (r"\boxed{C}", r"\boxed{B}", 0.0),
        ("<answer>dog</answer>", ["cat", "Dog"], 1.0),
        ("Answer: $13$", "13", 1.0),
        ("<tool_call>{}</tool_call>\nuser\n<tool_response>42</tool_response>\nassistant\nThe answer is 5", "5", 1.0),
    ],
)
def test_score_is_1_for_a_correct_answer_and_0_otherwise(response, truth, score):
    given = {"data_source": "ViRL39K", "extra_info": {"index": 1, "num_turns": 2}}
    assert compute_score(solution_str=response, ground_truth=truth, **given) == score


def test_style_names_another_answer_check_and_an_unknown_one_is_refused():
    given = {"solution_str": "about 12 cm", "ground_truth": {"target": ["11", "12"]}}
    assert compute_score(**given, style="numeric") == 1.0
    assert compute_score(**given, style="exact") == 0.0
    with pytest.raises(ConfigError, match="There is no answer check 'rule': use one of exact, multiple_choice"):
        compute_score(**given, style="rule")
    with pytest.raises(ConfigError, match="There is no answer check None: use one of exact"):
        compute_score(**given, style=None)
    with pytest.raises(ConfigError, match="No judge is asked by .*: use one of exact, .*yes_no, math"):
        compute_score(**given, style="judge")
    with pytest.raises(TypeError, match="tolerence"):
        compute_score(**given, tolerence=0.1)


def test_ground_truth_without_an_answer_is_refused():
    with pytest.raises(ConfigError, match="The ground truth None is no answer"):
        compute_score(solution_str="red", ground_truth=None)
