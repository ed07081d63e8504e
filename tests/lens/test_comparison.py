# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The lens on policies whose gradients are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.policies import coin, two_tokens

from verl_mapo.advantages.mapo import MapoSettings
from verl_mapo.lens.comparison import Figure, Plan, by_halves, compare, figures_of_batches, where_it_comes_from
from verl_mapo.lens.estimators import Estimator, grpo, mapo, rloo, shuffled, token_weighted
from verl_mapo.settings import ConfigError

PLAN = Plan(questions=8, rollouts=2, passes=25, draws=0)


def test_figures_of_a_known_gradient_are_those_computed_by_hand():
    """Two rollouts a question: RLOO weighs them with +-1 where they differ, which has probability 1/2.

    A question then adds 1 to the first parameter and -2, 0, 0 or 2 to the second, otherwise nothing: mean 1/2 and
    variances 1/4 and 1. A batch of b questions has a signal-to-noise ratio of sqrt(b) on the first parameter, and the
    variance is (1/4 + 1) b against a squared mean of b^2 / 4, which is 5 / b.
    """
    [found] = compare(coin(700, 2), [Estimator("rloo", rloo)], PLAN)
    assert found.snr.value == pytest.approx(8**0.5, rel=0.08)
    assert found.variance.value == pytest.approx(5 / 8, rel=0.12)
    assert found.bias_cosine.value > 0.98 and found.idle.value == pytest.approx(0.5, abs=0.05)
    random = np.random.default_rng(0)
    batches = (random.random((20_000, 8)) < 0.5)[..., None] * np.stack(
        [np.ones((20_000, 8)), random.choice([-2, 0, 0, 2], (20_000, 8))], axis=2
    )
    gradient = batches.sum(axis=1)
    cosine = (gradient[:, 0] / np.maximum(np.linalg.norm(gradient, axis=1), 1e-9)).mean()
    assert found.cosine.value == pytest.approx(cosine, abs=0.03)
    assert found.true_cosine.value == pytest.approx(cosine, abs=0.03) and found.true_cosine.value > found.cosine.value


def test_ratio_is_taken_over_batches_of_a_pass_which_share_no_question():
    """Two passes with the same questions: variances 2 and 0, mean 2. That of all four batches is 2/3."""
    both = torch.tensor([[1.0, 3.0], [2.0, 2.0]])
    assert figures_of_batches(both, torch.ones(2, 2), torch.full((2,), 4.0))[1] == pytest.approx(2)
    cancelled = torch.tensor([[4.0, 1e-20]]), torch.tensor([4.0])
    assert figures_of_batches(torch.tensor([[1.0, 1e-6]]), *cancelled)[0] == 0.25, "rounding has no direction"
    alone = torch.tensor([[1.0], [3.0]]), torch.ones(2, 1), torch.ones(2)
    assert np.isnan(figures_of_batches(*alone)[1]), "one batch has no spread"


def test_figures_do_not_depend_on_the_order_of_the_questions():
    """A comparison reads the questions of a half fastest where they are side by side."""
    rows, plan = [Estimator("grpo", grpo), Estimator("rloo", rloo)], Plan(questions=2, rollouts=4, passes=3, draws=5)
    collection = coin(13, 4, noise=0.4)
    arranged = by_halves(collection, plan)
    assert not torch.equal(arranged.question, collection.question)
    for one, other in zip(compare(collection, rows, plan), compare(arranged, rows, plan), strict=True):
        figures = [pytest.approx(figure, rel=1e-6, nan_ok=True) for figure in [*vars(other).values()][1:]]
        assert [*vars(one).values()][1:] == figures


def test_estimator_that_points_the_other_way_is_worth_less_than_nothing():
    rows = [Estimator("grpo", grpo), Estimator("flipped", lambda rollouts, _: -2 * grpo(rollouts))]
    flipped = compare(coin(60, 4), rows, PLAN)[1]
    assert flipped.worth.value == pytest.approx(-1)


def test_reference_without_a_signal_is_refused_and_a_draw_without_one_has_no_projection():
    """With three mixed questions of 12, many draws of a half have none."""
    outcome, plan = torch.zeros(12, 4), Plan(questions=2, rollouts=4, passes=3, draws=20)
    rows, words = [Estimator("grpo", grpo)], "over half of the questions is 0 or not finite.*: 1 of 12 questions have"
    for broken in (torch.nan, 0.0):
        outcome[0, 0] = 1
        sketches = torch.full((48, 2), broken) if broken else torch.ones(48, 2)
        with pytest.raises(ConfigError, match=words):
            compare(replace(coin(12, 4), sketches=sketches, outcome=outcome.flatten()), rows, plan)
    order = np.random.default_rng(plan.seed).permutation(12)
    outcome[order[[0, 1, 11]], 0] = 1
    [found] = compare(replace(coin(12, 4), outcome=outcome.flatten()), rows, plan)
    assert all(np.isfinite(found.cosine)) and all(np.isfinite(found.snr))


def test_informative_scores_help_and_their_placebo_and_flipped_signs_do_not():
    collection = coin(60, 8, noise=0.6)
    weights = mapo(MapoSettings(beta=1.0))
    flipped = replace(collection, turn_scores=-collection.turn_scores)
    rows = [Estimator("grpo", grpo), Estimator("mapo", weights), Estimator("placebo", shuffled(weights))]
    plan = Plan(questions=8, rollouts=8, passes=10, draws=40)
    base, real, placebo = compare(collection, rows, plan)
    assert base.gain == (0, 0, 0) and base.worth == (1, 1, 1)
    assert real.gain.low > 0 and real.worth.value > 1.5
    assert placebo.gain.value < 0 < real.gain.value and placebo.worth.value < 1
    wrong = compare(flipped, rows[:2], plan)[1]
    assert wrong.gain.high < 0 and wrong.snr.value < base.snr.value


@pytest.mark.parametrize(("factors", "gain"), [((1.2, 0.8), 1), ((0.8, 1.2), -1)])
def test_token_weighted_row_has_the_figures_computed_by_hand(factors, gain):
    """Factor f on the token that decides and h on the other one scale the two parameters of the first test by f and h.

    The signal-to-noise ratio on the first parameter stays sqrt(8), since factors alike in all rollouts cancel; the
    variance is (f^2 / 4 + h^2) 8 against a squared mean of 16 f^2. Factors shifted by one token exchange f and h, and
    the cosine falls below that of the plain gradient.
    """
    f, h = factors
    rows = [Estimator("rloo", rloo), *token_weighted("vgpo", rloo)]
    plain, found, placebo = compare(two_tokens(700, factors), rows, PLAN)
    assert found.snr.value == pytest.approx(8**0.5, rel=0.08)
    assert found.variance.value == pytest.approx((f**2 / 4 + h**2) * 8 / (16 * f**2), rel=0.12)
    random = np.random.default_rng(0)
    differ = (random.random((20_000, 8)) < 0.5)[..., None]
    others = np.stack([np.ones((20_000, 8)), random.choice([-2, 0, 0, 2], (20_000, 8))], axis=2)
    gradient = (differ * others).sum(axis=1) * np.array(factors)
    cosine = (gradient[:, 0] / np.maximum(np.linalg.norm(gradient, axis=1), 1e-9)).mean()
    assert found.cosine.value == pytest.approx(cosine, abs=0.03)
    assert gain * found.gain.value > 0.05 and placebo.snr.value < found.snr.value


def test_row_that_adds_plain_gradients_has_the_figures_of_the_sum():
    """a A v + (b A + c) g of two collections of vectors is a A + b A + c of the sum of the vectors by rollout.

    With v = g f, the row is one whose gradients have the factors a f + b; c, which no outcome changes, adds noise.
    """
    factors, (a, b) = (1.2, 0.8), (0.5, 2.0)
    together = two_tokens(200, tuple(a * factor + b for factor in factors))
    scaled = lambda share: lambda rollouts, random: share * rloo(rollouts)  # noqa: E731
    apart = token_weighted("vgpo", scaled(a), scaled(b))
    plan = replace(PLAN, passes=5)
    expected = compare(together, [Estimator("rloo", rloo), *token_weighted("vgpo", rloo)], plan)[1]
    found = compare(two_tokens(200, factors), [Estimator("rloo", rloo), *apart], plan)[1]
    assert [each.value for each in vars(found).values() if isinstance(each, Figure)] == pytest.approx(
        [each.value for each in vars(expected).values() if isinstance(each, Figure)], rel=1e-4
    )
    noisy = token_weighted("vgpo", scaled(a), lambda rollouts, random: scaled(b)(rollouts, random) + 1.0)[0]
    assert compare(two_tokens(200, factors), [Estimator("rloo", rloo), noisy], plan)[1].snr.value < found.snr.value
    shares = where_it_comes_from(two_tokens(200, factors), apart[0], plan)
    assert shares["mixed"][1] == pytest.approx(1)


def test_intervals_hold_the_true_value_as_often_as_they_say():
    """12 collections of the same policy: the expected ratio is sqrt(8), and most intervals of 95 % hold it."""
    plan = Plan(questions=8, rollouts=2, passes=5, draws=40)
    held = 0
    for seed in range(12):
        [found] = compare(coin(120, 2, seed=seed), [Estimator("rloo", rloo)], plan)
        held += found.snr.low <= 8**0.5 <= found.snr.high
    assert held >= 9


def test_gain_of_grpo_comes_from_mixed_groups_alone():
    collection = coin(80, 4)
    shares = where_it_comes_from(collection, Estimator("grpo", grpo), Plan(rollouts=4))
    assert shares["mixed"][1] == pytest.approx(1) and shares["all wrong"][1] == shares["all right"][1] == 0
    assert sum(share for share, _ in shares.values()) == pytest.approx(1)
    semantic = where_it_comes_from(collection, Estimator("mapo", mapo(MapoSettings(beta=1.0))), Plan(rollouts=4))
    assert sum(part for _, part in semantic.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan(rollouts=9), "--group 9 is refused: give 2 to 4"),
        (Plan(questions=11, rollouts=4), "--batch 11 is refused: give 1 to 10"),
    ],
)
def test_plan_that_asks_for_more_than_there_is_is_refused(plan, words):
    with pytest.raises(ConfigError, match=words):
        compare(coin(20, 4), [Estimator("grpo", grpo)], plan)


def test_questions_with_different_numbers_of_rollouts_are_refused():
    collection = coin(20, 4)
    with pytest.raises(ConfigError, match="3 to 5 rollouts"):
        compare(
            replace(collection, question=collection.question.clone().index_fill_(0, torch.tensor([0]), 1)), [], PLAN
        )
