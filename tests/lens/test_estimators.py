# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Weights of rollouts are verl's advantages, up to one factor a batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from verl.trainer.ppo import core_algos

from verl_mapo import lens_command
from verl_mapo.advantages.axpo import (
    AxpoSettings,
    axpo_advantage,
    axpo_groups,
    grpo_base,
    loss_masks,
    recovered_prefixes,
)
from verl_mapo.advantages.mapo import MapoSettings
from verl_mapo.columns import CONTINUATION, PLAIN, SOURCE
from verl_mapo.lens import estimators
from verl_mapo.lens.estimators import Rollouts, calls_exchanged, mapo, resampled, shuffled


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
        **dict.fromkeys(("role", "prefix_id", "prefix_tokens"), torch.zeros(rows, dtype=torch.int64)),
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


def step_of_axpo(questions: list[tuple[list[float], list[float]]]) -> Rollouts:
    """Questions as outcomes of original rollouts and of continuations of the first one; a prefix has 2 of 5 tokens."""
    rows = []
    for group, (outcomes, again) in enumerate(questions):
        for number, outcome in enumerate(outcomes):
            source = bool(again) and not number
            rows.append((outcome, group, SOURCE, 0, 2, 5) if source else (outcome, group, PLAIN, -1, 0, 5))
        rows += [(outcome, group, CONTINUATION, 0, 0, 3) for outcome in again]
    outcome, group, role, prefix_id, prefix_tokens, tokens = map(torch.tensor, zip(*rows, strict=True))
    nothing, one = torch.zeros(len(rows), 1), torch.zeros_like(group)
    return Rollouts(outcome, nothing, nothing, tokens, one, one, role, prefix_id, prefix_tokens, group, one)


def test_weights_of_axpo_are_those_computed_by_hand():
    """Rewards 0, 1, 0: mean 1/3, std sqrt(1/3). The prefix, with a right continuation, is 1 among 1, 1, 0: mean 2/3.

    Its continuations 1, 0 have mean 1/2 and std sqrt(1/2).
    """
    third, half = 3**0.5, 2**0.5
    found = resampled("axpo", AxpoSettings())[0].weights(step_of_axpo([([0.0, 1.0, 0.0], [1.0, 0.0])]), None)
    expected = [[third / 3, 0], [0, 2 * third / 3], [0, -third / 3], [0, half / 2], [0, -half / 2]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-5)


outcomes_of = lambda least, most: st.lists(st.sampled_from([0.0, 1.0]), min_size=least, max_size=most)  # noqa: E731
steps_of_axpo = st.lists(st.tuples(outcomes_of(1, 4), outcomes_of(0, 3)), min_size=1, max_size=3)
every_setting = st.builds(
    AxpoSettings,
    prefix_credit=st.booleans(),
    separate_group=st.booleans(),
    unrecovered_source=st.sampled_from(["mask", "grpo"]),
    std=st.sampled_from(["sample", "population"]),
)


@given(steps_of_axpo, every_setting)
def test_weights_of_axpo_are_the_advantages_of_the_tokens(questions, settings):
    """In training, the advantage is computed for each token: 5 of an original, 2 given ones and 3 of a continuation."""
    rows = step_of_axpo(questions)
    mask, position = torch.ones(len(rows.role), 5, dtype=torch.int64), torch.arange(5)
    mask[rows.role == CONTINUATION, :2] = 0
    length = torch.where(rows.role == PLAIN, 0, 2)
    outcome, columns = rows.outcome.double(), (rows.group, rows.role, rows.prefix_id)
    recovered = recovered_prefixes(outcome, mask, *columns)
    acted_on, _ = loss_masks(mask, recovered, rows.role, length, settings)
    base = grpo_base(outcome, acted_on, axpo_groups(*columns, settings), settings)
    columns = (rows.group, rows.role, length, rows.prefix_id)
    expected = axpo_advantage(outcome, base, acted_on, *columns, settings).advantages
    prefix, rest = resampled("axpo", settings)[0].weights(rows, None).T.unsqueeze(2)
    found = torch.where(position < length.unsqueeze(1), prefix, rest) * mask
    torch.testing.assert_close(found, expected)


@given(steps_of_axpo, st.integers(0, 99))
def test_placebo_of_axpo_has_as_many_right_continuations_in_a_step(questions, seed):
    rows, seen = step_of_axpo(questions), []
    real, placebo = resampled("axpo", AxpoSettings())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimators, "grpo_base", lambda outcome, *rest: seen.append(outcome) or grpo_base(outcome, *rest))
        placebo.weights(rows, torch.Generator().manual_seed(seed))
    [changed], continued = seen, rows.role == CONTINUATION
    assert torch.equal(changed[~continued], rows.outcome[~continued].double())
    assert changed[continued].sum() == rows.outcome[continued].sum()
    assert placebo.placebo == real.name and placebo.tokens == real.tokens


def test_axpo_without_continuations_is_grpo():
    given = rollouts()
    prefix, rest = resampled("axpo", AxpoSettings())[0].weights(given, None).T
    assert torch.equal(rest, estimators.grpo(given)) and not prefix.any()


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
    shapes = {row.continuations: row.weights(rollouts(), torch.Generator()).shape for row in rows}
    assert shapes == {False: (24,), True: (24, 2)}
