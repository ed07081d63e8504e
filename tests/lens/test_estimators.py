# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Weights of rollouts are verl's advantages, up to one factor a batch."""

from __future__ import annotations

import pytest
import torch
from verl.trainer.ppo import core_algos

from verl_mapo import lens_command
from verl_mapo.advantages.mapo import MapoSettings
from verl_mapo.lens import estimators
from verl_mapo.lens.estimators import Rollouts, calls_exchanged, mapo, shuffled


def rollouts(seed: int = 0, batches: int = 2, questions: int = 3, n: int = 4) -> Rollouts:
    random = torch.Generator().manual_seed(seed)
    rows = batches * questions * n
    return Rollouts(
        outcome=torch.randint(2, (rows,), generator=random).float(),
        turn_scores=torch.rand(rows, 2, generator=random),
        turn_status=torch.randint(3, (rows, 2), generator=random),
        tokens=torch.randint(1, 9, (rows,), generator=random),
        calls=torch.randint(3, (rows,), generator=random),
        row_score=torch.rand(rows, generator=random),
        group=torch.arange(batches * questions).repeat_interleave(n),
        batch=torch.arange(batches).repeat_interleave(questions * n),
    )


def of_verl(name: str, given: Rollouts, batch: int) -> torch.Tensor:
    """verl's advantage of the first token of each row of a batch."""
    rows = given.batch == batch
    tokens = given.tokens[rows]
    mask = (torch.arange(int(tokens.max())) < tokens.unsqueeze(1)).float()
    rewards = torch.zeros_like(mask)
    rewards[torch.arange(len(tokens)), tokens - 1] = given.outcome[rows]
    function = core_algos.get_adv_estimator_fn(name)
    return function(
        token_level_rewards=rewards, response_mask=mask, index=given.group[rows].numpy().astype(object), config=None
    )[0][:, 0].double()


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("grpo", estimators.grpo),
        ("rloo", estimators.rloo),
        ("reinforce_plus_plus_baseline", estimators.reinforce_plus_plus_baseline),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_weights_are_verls_advantages_up_to_a_factor(name, weights, seed):
    given = rollouts(seed)
    for batch in (0, 1):
        expected, found = of_verl(name, given, batch), weights(given)[given.batch == batch]
        factor = (expected @ found) / (found @ found)
        assert factor > 0 and torch.allclose(found * factor, expected, atol=2e-5)


def test_gspo_is_grpo_by_length_and_dr_grpo_has_no_division():
    given = rollouts()
    assert torch.allclose(estimators.gspo(given) * given.tokens, estimators.grpo(given))
    mean = given.outcome.view(6, 4).mean(dim=1).repeat_interleave(4).double()
    assert torch.allclose(estimators.dr_grpo(given), given.outcome - mean, atol=1e-6)


def test_mapo_without_weight_is_grpo():
    given = rollouts()
    assert torch.equal(mapo(MapoSettings(beta=0))(given), estimators.grpo(given))


@pytest.mark.parametrize("seed", range(5))
def test_placebo_exchanges_scores_among_the_scored_rollouts_of_a_group(seed):
    given, seen = rollouts(seed), []
    shuffled(lambda changed, _: seen.append(changed))(given, torch.Generator().manual_seed(seed))
    [changed] = seen
    scored = (given.turn_status == 1).any(dim=1)
    assert torch.equal((changed.turn_status == 1).any(dim=1), scored)
    for group in range(6):
        rows = given.group == group
        before, after = (
            sorted(zip(each.turn_scores[rows].tolist(), each.turn_status[rows].tolist(), strict=True))
            for each in (given, changed)
        )
        assert before == after
    assert torch.equal(changed.outcome, given.outcome)
    moved = (changed.turn_scores != given.turn_scores).any(dim=1)
    assert moved.any() and not moved[~scored].any()


@pytest.mark.parametrize("seed", range(5))
def test_placebo_of_tool_credit_exchanges_calls_among_the_right_rollouts_of_a_group(seed):
    given, seen = rollouts(seed), []
    calls_exchanged(lambda changed, _: seen.append(changed))(given, torch.Generator().manual_seed(seed))
    [changed] = seen
    right = given.outcome == 1
    for group in range(6):
        rows = right & (given.group == group)
        assert sorted(changed.calls[rows].tolist()) == sorted(given.calls[rows].tolist())
    moved = changed.calls != given.calls
    assert moved.any() and not moved[~right].any()
    assert torch.equal(changed.turn_scores, given.turn_scores) and torch.equal(changed.outcome, given.outcome)


def test_every_placebo_of_the_table_names_an_estimator_and_names_are_unique():
    rows = lens_command.estimators()
    names = [row.name for row in rows]
    assert names[0] == "grpo" and len(set(names)) == len(names)
    assert all(any(name.startswith(row.placebo) for name in names) for row in rows if row.placebo)
    assert all(row.weights(rollouts(), torch.Generator()).shape == (24,) for row in rows)
