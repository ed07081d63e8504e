# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracies over samples, intervals and tests: against hand-computed values, brute force and scipy."""

from __future__ import annotations

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from verl_mapo.benchmarks import statistics


def test_avg_at_k_is_the_share_of_right_samples():
    assert statistics.avg_at_k(np.array([[1, 0], [1, 1], [0, 0]], bool)) == 0.5


@given(
    st.integers(1, 8).flatmap(lambda n: st.tuples(st.lists(st.booleans(), min_size=n, max_size=n), st.integers(1, n)))
)
def test_pass_at_k_is_the_mean_over_all_draws_of_k_samples(drawn):
    samples, k = drawn
    brute = np.mean([any(some) for some in combinations(samples, k)])
    [estimate] = statistics.pass_at_k(len(samples), sum(samples), k)
    assert estimate == pytest.approx(brute, abs=1e-12)


def test_pass_at_k_by_hand_and_for_many_samples():
    assert statistics.pass_at_k(4, 1, 2) == pytest.approx(1 - comb(3, 2) / comb(4, 2))
    assert statistics.pass_at_k(np.array([8, 8, 8]), np.array([0, 8, 3]), 8).tolist() == [0, 1, 1]
    assert statistics.pass_at_k(1000, 3, 100) == pytest.approx(1 - comb(997, 100) / comb(1000, 100))


@pytest.mark.parametrize(("samples", "right", "k"), [(4, 1, 5), (4, 1, 0), (4, 5, 1), (4, -1, 1)])
def test_pass_at_k_of_impossible_numbers_is_an_error(samples, right, k):
    with pytest.raises(ValueError, match="samples"):
        statistics.pass_at_k(samples, right, k)


@pytest.mark.parametrize(
    ("said", "right", "share"),
    [
        (["B", "A", "A"], [0, 1, 1], 1.0),
        (["B", "B", "A"], [0, 0, 1], 0.0),
        (["A", "B"], [1, 0], 0.5),
        ([None, None, "A", "B", "A"], [0, 0, 1, 0, 1], 1.0),
        ([None, None], [0, 0], 0.0),
    ],
)
def test_majority_counts_votes_and_shares_a_tie(said, right, share):
    assert statistics.majority(said, right) == share


def test_interval_is_that_of_the_percentile_bootstrap():
    values = np.array([1.0] * 60 + [0.0] * 40)
    ours = statistics.interval(values)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", rng=1, n_resamples=5000).confidence_interval
    assert ours.value == 0.6 and ours.units == 100
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.011)


def test_interval_covers_the_true_share_as_often_as_it_says():
    random = np.random.default_rng(0)
    runs = [statistics.interval(random.random(200) < 0.7, seed=seed) for seed in range(200)]
    covered = sum(run.low <= 0.7 <= run.high for run in runs)
    assert 180 <= covered <= 199


def test_interval_of_groups_is_wider_where_their_members_are_alike():
    values = np.repeat(np.random.default_rng(0).random(100) < 0.5, 4)
    alone, grouped = statistics.interval(values), statistics.interval(values, np.repeat(np.arange(100), 4))
    assert grouped.units == 100 and grouped.value == alone.value
    assert (grouped.high - grouped.low) == pytest.approx(2 * (alone.high - alone.low), rel=0.1)


def test_interval_of_groups_of_unequal_size_by_hand():
    found = statistics.interval([1, 0, 0, 0, 0, 0], ["a", "a", "a", "a", "b", "b"])
    assert found.value == 1 / 6 and found.units == 2
    assert (found.low, found.high) == (0.0, 2 / 8), "of two groups drawn: b and b 0 / 4, a and b 1 / 6, a and a 2 / 8"


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=30), st.integers(0, 3))
def test_mean_is_that_over_questions_whatever_the_groups_are(drawn, seed):
    values, groups = [right / 4 for right, _ in drawn], [group for _, group in drawn]
    found, zeros = statistics.interval(values, groups, seed), [0.0] * len(values)
    assert found.value == pytest.approx(np.mean(values), abs=1e-12) and found.units == len(set(groups))
    assert min(values) - 1e-12 <= found.low <= found.high <= max(values) + 1e-12
    compared = statistics.compare(zeros, values, groups, seed)
    assert compared.difference == found
    assert statistics.interval(values, range(len(values)), seed) == statistics.interval(values, seed=seed)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")]])
def test_interval_of_nothing_is_an_error(values):
    with pytest.raises(ValueError, match="one or more numbers"):
        statistics.interval(values)


def test_categories_are_estimated_apart():
    found = statistics.by_category({"a": 1.0, "b": 0.0, "c": 1.0}, {"a": "x", "b": "y", "c": "x"})
    assert {name: estimate.value for name, estimate in found.items()} == {"x": 1.0, "y": 0.0}


def test_comparison_by_hand():
    found = statistics.compare([1, 1, 0, 0, 0, 0, 0, 0], [1, 0, 1, 1, 1, 1, 1, 0])
    assert (found.better, found.worse, found.difference.value) == (5, 1, 0.5)
    assert found.mcnemar == pytest.approx(2 * (1 + 6) / 2**6)
    assert found.permutation == pytest.approx(2 * (1 + 6) / 2**6, abs=0.02)


def test_comparison_of_equal_runs_finds_nothing():
    found = statistics.compare([1, 0, 1], [1, 0, 1])
    assert (found.mcnemar, found.permutation, found.difference.value) == (1.0, 1.0, 0.0)


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=1, max_size=9))
def test_permutation_p_is_that_of_all_exchanges(gaps):
    sums = [abs(np.dot(signs, gaps)) for signs in product((-1, 1), repeat=len(gaps))]
    exact = np.mean(np.array(sums) >= abs(sum(gaps)) - 1e-12)
    found = statistics.compare([0.0] * len(gaps), gaps)
    assert found.permutation == pytest.approx(exact, abs=0.025)


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 2, st.integers(0, 3)), min_size=1, max_size=8))
def test_permutation_p_of_ninths_in_groups_is_that_of_whole_numbers(drawn):
    gaps = [sum(right - before for before, right, one in drawn if one == group) for group in range(4)]
    sums = [abs(np.dot(signs, gaps)) for signs in product((-1, 1), repeat=4)]
    exact = np.mean(np.array(sums) >= abs(sum(gaps)))
    before, right, groups = zip(*drawn, strict=True)
    found = statistics.compare(np.array(before) / 9, np.array(right) / 9, groups)
    assert found.permutation == pytest.approx(exact, abs=0.025)


def test_runs_whose_shares_have_the_same_sum_are_not_apart():
    before, after = np.array([6, 7, 2, 0, 0]) / 9, np.array([2, 0, 6, 7, 0]) / 9
    assert statistics.compare(before, after).permutation == 1.0


@given(st.lists(st.integers(-40, 40), min_size=1, max_size=20))
def test_values_that_differ_by_rounding_alone_are_drawn_as_one(ninths):
    noisy = np.array([sum([one / 9 / 7] * 7) for one in ninths])
    distinct, counts = statistics._distinct(noisy[:, None])
    assert len(distinct) == len(set(ninths)) and counts.sum() == len(ninths)
    assert sorted(np.repeat(distinct[:, 0], counts)) == pytest.approx(sorted(noisy), abs=1e-11)


def test_samples_that_are_shares_have_no_mcnemar_test():
    assert statistics.compare([0.5, 1], [1, 1]).mcnemar is None


def test_runs_of_different_questions_are_not_compared():
    with pytest.raises(ValueError, match="2 and 1 questions"):
        statistics.compare([1, 0], [1])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30), st.integers(0, 3))
def test_ratio_is_that_of_the_sums_and_lies_in_its_interval_of_all_resamples(pairs, seed):
    parts, wholes = [min(pair) for pair in pairs], [pair[1] for pair in pairs]
    if not sum(wholes):
        with pytest.raises(ValueError, match="whole is above 0"):
            statistics.ratio(parts, wholes)
        return
    found = statistics.ratio(parts, wholes, seed=seed)
    assert found.value == pytest.approx(sum(parts) / sum(wholes), abs=1e-12)
    assert 0 <= found.low <= found.high <= 1 and found.units == sum(whole > 0 for whole in wholes)
    assert statistics.ratio(parts, wholes, list(range(len(parts))), seed) == found


def test_ratio_with_equal_wholes_is_the_mean_with_its_interval():
    values = [0.0, 1.0, 1.0, 0.0, 1.0]
    one, other = statistics.ratio(values, [1] * 5), statistics.interval(values)
    assert (one.value, one.units) == (other.value, other.units)
    assert (one.low, one.high) == pytest.approx((other.low, other.high))
    assert statistics.ratio([1, 2, 0], [2, 2, 0], ["a", "a", "b"]).value == 0.75
