# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Statistics of the answers to a benchmark: accuracies over samples, intervals over questions, paired comparisons.

The unit that varies is the question: the samples of a question, and the orders of its options, are no independent
observations. The intervals tell how much a number would move with other questions of the same kind; they do not contain
the spread over trainings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

RESAMPLES = 9999
"""Number of resamples of an interval and of a permutation test."""

LEVEL = 0.95
"""Coverage of the intervals."""

_ROUNDING = 1e-9
"""Difference below which two sums are equal, relative to the sum of the absolute values of their terms."""


def avg_at_k(right: np.ndarray) -> float:
    """Avg@k: the mean over the questions of the share of right samples.

    Args:
        right: (questions, k), bool.
    """
    return float(np.asarray(right, dtype=float).mean())


def pass_at_k(samples: np.ndarray | int, right: np.ndarray | int, k: int) -> np.ndarray:
    """The unbiased estimate of Pass@k for each question (Chen et al. 2021, equation 1)::

        1 - C(n - c, k) / C(n, k) = 1 - prod_{i = n - c + 1}^{n} (1 - k / i)

    Args:
        samples: n of each question, >= k.
        right: c of each question, from 0 to n.
        k: number of samples of which one has to be right, >= 1.

    Returns:
        one float for each question.

    Raises:
        ValueError: a question has fewer than k samples, or more right ones than samples.
    """
    samples, right = np.broadcast_arrays(np.atleast_1d(samples), np.atleast_1d(right))
    if k < 1 or (samples < k).any():
        raise ValueError(f"k is {k}, and a question has {samples.min()} samples: k must be from 1 to that number")
    if (right < 0).any() or (right > samples).any():
        raise ValueError("a question has more right samples than samples")
    failed = np.ones(len(samples))
    for place, (n, c) in enumerate(zip(samples, right, strict=True)):
        failed[place] = 0.0 if n - c < k else np.prod(1.0 - k / np.arange(n - c + 1, n + 1))
    return 1.0 - failed


def majority(said: Sequence[str | None], right: Sequence[bool]) -> float:
    """Whether the most frequent answer of a question's samples is right.

    A sample without an answer has no vote. Where several answers are equally frequent, the result is the share of them
    that are right, the expectation of a draw among them [ours].

    Args:
        said: what each sample says, as equal texts for equal answers; None for no answer.
        right: whether it is right, in the same order.
    """
    votes = Counter(one for one in said if one is not None)
    if not votes:
        return 0.0
    most = max(votes.values())
    first = {one: float(verdict) for one, verdict in reversed(list(zip(said, right, strict=True)))}
    return float(np.mean([first[one] for one, count in votes.items() if count == most]))


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval.

    Attributes:
        value: the mean.
        low, high: ends of the interval of coverage :data:`LEVEL`.
        units: number of questions that were resampled, or of groups of them.
    """

    value: float
    low: float
    high: float
    units: int


def interval(values: Iterable[float], groups: Iterable[Hashable] | None = None, seed: int = 0) -> Estimate:
    """The mean over questions with its percentile bootstrap interval.

    With groups, the mean is still that over questions, whatever the sizes of the groups; only what is resampled
    changes. A resample draws whole groups with replacement, and its mean is the sum of their values over the number of
    their questions (a ratio estimator), see :func:`ratio`.

    Args:
        values: one number for each question.
        groups: the group of each question, such as the image that four orders of options share. None to draw
            questions.
        seed: of the random numbers.

    Raises:
        ValueError: there is no value, or one is NaN.
    """
    values = np.fromiter(values, dtype=float)
    if not values.size or np.isnan(values).any():
        raise ValueError("an interval needs one or more numbers, and none of them may be NaN")
    return ratio(values, np.ones(len(values)), groups, seed)


def _sums_of(groups: Iterable[Hashable] | None, *columns: Sequence[float]) -> np.ndarray:
    """The sums of some numbers over each unit that is resampled: a group, or a question without groups.

    Returns:
        (units, columns), float64.
    """
    if groups is None:
        return np.column_stack(columns).astype(float)
    places, _ = pd.factorize(pd.Index(groups, tupleize_cols=False))
    return np.column_stack([np.bincount(places, column) for column in columns])


def _distinct(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of some numbers, and how often each occurs; rows that differ by rounding alone are one.

    Args:
        units: (units, columns), float64.
    """
    scale = np.abs(units).max(initial=0.0) or 1.0
    _, places, counts = np.unique(np.round(units / scale, 12), axis=0, return_index=True, return_counts=True)
    return units[places], counts


def ratio(
    parts: Sequence[float], wholes: Sequence[float], groups: Iterable[Hashable] | None = None, seed: int = 0
) -> Estimate:
    """The sum of some numbers over the sum of others, with the percentile bootstrap interval over questions.

    For a share of samples of which each question has another number, such as of the right ones with a look. A resample
    of n questions is a draw of how often each distinct pair occurs (multinomial). That has the distribution of drawing
    the questions with replacement, and costs no memory for each question. A resample without any whole is left out.

    Args:
        parts, wholes: one number for each question; the wholes are not negative, and one is positive.
        groups: the group of each question; whole groups are drawn then, and the numbers of a group are added. None to
            draw questions.
        seed: of the random numbers.

    Raises:
        ValueError: the sum of the wholes is 0.
    """
    pairs = _sums_of(groups, parts, wholes)
    if pairs[:, 1].sum() <= 0:
        raise ValueError("a ratio needs a question whose whole is above 0")
    distinct, counts = _distinct(pairs)
    drawn = np.random.default_rng(seed).multinomial(len(pairs), counts / len(pairs), size=RESAMPLES) @ distinct
    drawn = drawn[drawn[:, 1] > 0]
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(pairs[:, 0].sum() / pairs[:, 1].sum()), float(low), float(high), int((pairs[:, 1] > 0).sum()))


def by_category(values: Mapping[str, float], category: Mapping[str, str], seed: int = 0) -> dict[str, Estimate]:
    """The estimate of each category, in alphabetical order.

    Args:
        values, category: by question.
        seed: of the random numbers.
    """
    members: dict[str, list[float]] = {}
    for question, value in values.items():
        members.setdefault(category[question], []).append(value)
    return {name: interval(found, seed=seed) for name, found in sorted(members.items())}


@dataclass(frozen=True)
class Comparison:
    """The difference of two runs on the same questions.

    Attributes:
        difference: mean of the second minus mean of the first, with its interval.
        better, worse: number of questions on which the second is better or worse.
        mcnemar: two-sided p-value of the exact McNemar test; None where a question has a value other than 0 and 1, or
            where questions form groups, because they are not independent then.
        permutation: two-sided p-value of the paired permutation test on the mean.
    """

    difference: Estimate
    better: int
    worse: int
    mcnemar: float | None
    permutation: float


def compare(
    first: Sequence[float], second: Sequence[float], groups: Sequence[Hashable] | None = None, seed: int = 0
) -> Comparison:
    """Compare two runs question by question.

    The difference is that of the means over questions, with or without groups. What is resampled is the question, or
    the whole group where there are groups: for the interval, questions or groups are drawn with replacement, see
    :func:`interval`; in the permutation test the two runs change places at random on each question or group. The
    p-value is (1 + number of resamples at least as far from 0) / (1 + :data:`RESAMPLES`), which is never 0. McNemar's
    test is the binomial test of the questions on which the two differ.

    Args:
        first, second: the values of the same questions in the same order.
        groups: the group of each question; None where each question is drawn and exchanged by itself.
        seed: of the random numbers.

    Raises:
        ValueError: the runs have different numbers of questions, or none.
    """
    if len(first) != len(second):
        raise ValueError(f"the runs have {len(first)} and {len(second)} questions: compare those that both have")
    one, two = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    gaps = two - one
    units = _sums_of(groups, gaps)[:, 0]
    better, worse = int((gaps > 0).sum()), int((gaps < 0).sum())
    apart = len(units) == len(gaps) and bool(np.isin(np.concatenate([one, two]), (0.0, 1.0)).all())
    mcnemar = float(stats.binomtest(better, better + worse, 0.5).pvalue) if better + worse else 1.0
    difference = interval(gaps, groups, seed)
    return Comparison(difference, better, worse, mcnemar if apart else None, _permutation(units, seed))


def _permutation(gaps: np.ndarray, seed: int) -> float:
    """The p-value. Of m units with the same size of gap, a resample has a binomial number with each sign.

    Sums that differ by no more than rounding are equally far: shares such as 2/9 - 6/9 do not add up to 0 exactly.

    Args:
        gaps: of each question, or summed over each group.
        seed: of the random numbers.
    """
    sizes, counts = _distinct(np.abs(gaps)[:, None])
    positive = np.random.default_rng(seed).binomial(counts, 0.5, size=(RESAMPLES, len(counts)))
    sums = (2 * positive - counts) @ sizes[:, 0]
    far = np.abs(sums) >= abs(gaps.sum()) - _ROUNDING * np.abs(gaps).sum()
    return float((1 + far.sum()) / (1 + RESAMPLES))
