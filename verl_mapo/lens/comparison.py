# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Compares estimators on the sketched gradients of one policy's rollouts.

Half of the questions give the reference, the gradient of accuracy over all their rollouts; batches are drawn from the
other half, and then the other way round. Everything that is reported is a ratio of inner products of weighted sums of
rollouts, so the inner products of all pairs of rollouts are computed once, and an estimator costs no more than its
weights. Intervals come from a bootstrap over questions: a drawn question brings all its rollouts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from verl_mapo.lens.collection import Collection
from verl_mapo.lens.estimators import Estimator, Rollouts, accuracy
from verl_mapo.settings import ConfigError


@dataclass(frozen=True)
class Plan:
    """How batches are drawn.

    Attributes:
        questions: questions of a batch.
        rollouts: rollouts of each question, at most those of the collection.
        passes: times that the questions of a half are dealt into batches, so that no two batches of a pass share one.
        draws: draws of the bootstrap; the first figure comes from the questions as they are.
        seed: of everything random.
        level: level of the intervals.
    """

    questions: int = 8
    rollouts: int = 8
    passes: int = 25
    draws: int = 200
    seed: int = 0
    level: float = 0.95

    def check(self, questions: int, rollouts: int) -> None:
        """Check that there are enough rollouts for the batches.

        Args:
            questions: number of questions that are or will be collected.
            rollouts: rollouts of each of them.

        Raises:
            ConfigError: the plan asks for more than there are.
        """
        if not 2 <= self.rollouts <= rollouts:
            raise ConfigError(f"--group {self.rollouts} is refused: give 2 to {rollouts}, the rollouts of a question.")
        if not 1 <= self.questions <= questions // 2:
            raise ConfigError(
                f"--batch {self.questions} is refused: give 1 to {questions // 2}, half of all questions."
            )

    def halves(self, units: int) -> list[np.ndarray]:
        """The numbers of the units in two halves, each of which gives the reference of the other."""
        return np.array_split(np.random.default_rng(self.seed).permutation(units), 2)

    def generator(self, number: int, own: int = 0) -> torch.Generator:
        """Random numbers of a draw of the bootstrap; ``own`` is the number of the half whose batches are dealt."""
        return torch.Generator().manual_seed(1_000_003 * self.seed + 1_009 * number + own)


class Figure(NamedTuple):
    """A figure with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """What the lens found of one estimator; all figures without unit.

    Attributes:
        name: of the estimator.
        cosine: mean cosine of a batch's gradient with the reference.
        true_cosine: the same, divided by the square root of the cosine of the two references: what the cosine with a
            reference of endlessly many questions would be.
        gain: its cosine minus that of the base in the same batches.
        snr: mean of the projection on the reference divided by its standard deviation over batches; NaN where a half
            has the questions of one batch only.
        variance: trace of the covariance of a batch's gradient, divided by the squared length of its mean.
        bias_cosine: cosine of the expected gradient, over all rollouts of the half, with the reference.
        idle: share of rollouts with weight 0.
        worth: rollouts of the base that give the same signal-to-noise ratio as one of this estimator; below 0 where the
            two ratios have different signs.
    """

    name: str
    cosine: Figure
    true_cosine: Figure
    gain: Figure
    snr: Figure
    variance: Figure
    bias_cosine: Figure
    idle: Figure
    worth: Figure


TINY = 1e-30
"""Smallest divisor: a batch without any signal has cosine 0."""

ROUNDING = 1e-9
"""A squared gradient below this share of the mean over batches has cancelled to rounding [ours]: that of a batch has
cosine 0, and one as small for the signal of all batches is no signal."""


def compare(collection: Collection, estimators: Sequence[Estimator], plan: Plan) -> list[Comparison]:
    """Compare estimators; the first one is the base.

    Args:
        collection: the rollouts, the same number of each question.
        estimators: the rows of the table.
        plan: how batches are drawn.

    Raises:
        ConfigError: there are too few questions or rollouts for the plan.
    """
    by_question = rollouts_by_question(collection, plan)

    def measure(halves: Sequence[np.ndarray], number: int) -> np.ndarray:
        return _measure(collection, by_question, halves, estimators, plan, number)

    return bootstrap([each.name for each in estimators], len(by_question), measure, plan)


def bootstrap(
    estimators: Sequence[str], units: int, measure: Callable[[Sequence[np.ndarray], int], np.ndarray], plan: Plan
) -> list[Comparison]:
    """Deal units into halves, and draw from each half.

    Args:
        estimators: names of the estimators; the first one is the base.
        units: number of the units that a draw takes whole, which are questions or steps.
        measure: (estimators, measures) of two halves, given as numbers of units, and of the number of the draw; 0 are
            the halves as they are. The measures are those of :func:`measures`.
        plan: its draws, seed and level.
    """
    halves, random = plan.halves(units), np.random.default_rng((plan.seed, 1))
    drawn = [measure(halves, 0)]
    for number in range(1, plan.draws + 1):
        drawn.append(measure([random.choice(half, len(half)) for half in halves], number))
    values = np.stack(drawn)  # (1 + draws, estimators, measures)
    tail = (1 - plan.level) / 2
    low, high = np.quantile(values[1:], [tail, 1 - tail], axis=0) if plan.draws else (values[0], values[0])
    return [
        Comparison(name, *(Figure(*map(float, cell)) for cell in zip(values[0, row], low[row], high[row], strict=True)))
        for row, name in enumerate(estimators)
    ]


def rollouts_by_question(collection: Collection, plan: Plan) -> Tensor:
    """(Q, G) int64, the rows of each question's rollouts.

    Raises:
        ConfigError: the questions have different numbers of rollouts, or the plan asks for more than there are.
    """
    counts = torch.bincount(collection.question)
    if counts.min() != counts.max():
        raise ConfigError(
            f"The questions of the collection have {int(counts.min())} to {int(counts.max())} rollouts: the lens needs "
            "the same number of each."
        )
    plan.check(len(counts), int(counts[0]))
    return torch.argsort(collection.question, stable=True).view(len(counts), -1)


def by_halves(collection: Collection, plan: Plan) -> Collection:
    """The collection with the rollouts of each half of the questions side by side, which makes comparisons faster."""
    by_question = rollouts_by_question(collection, plan)
    return collection.at(by_question[np.concatenate(plan.halves(len(by_question)))].flatten())


def batch_of(collection: Collection, rows: Tensor, weighting: str = "") -> Rollouts:
    """The rollouts of some batches.

    Args:
        collection: the collection.
        rows: (..., questions, n) int64: the rollouts of the questions of each batch; a single batch as (questions, n).
        weighting: the token weighting whose scores the rollouts have; "" for none.
    """
    flat, (questions, n) = rows.flatten(), rows.shape[-2:]
    groups = len(flat) // n
    group = torch.arange(groups).repeat_interleave(n)
    return rollouts_of(collection, flat, group, group // questions, weighting)


def rollouts_of(collection: Collection, rows: Tensor, group: Tensor, batch: Tensor, weighting: str = "") -> Rollouts:
    """Some rollouts of a collection, (B,) int64, with their ``group`` and ``batch``, see :class:`Rollouts`."""
    return Rollouts(
        outcome=collection.outcome[rows],
        turn_scores=collection.turn_scores[rows],
        turn_status=collection.turn_status[rows],
        tokens=collection.tokens[rows],
        calls=collection.calls[rows],
        row_score=collection.row_score(weighting)[rows],
        **{name: collection.resampled(name)[rows] for name in ("role", "prefix_id", "prefix_tokens")},
        group=group,
        batch=batch,
    )


def _measure(
    collection: Collection,
    by_question: Tensor,
    halves: Sequence[np.ndarray],
    estimators: Sequence[Estimator],
    plan: Plan,
    number: int,
) -> np.ndarray:
    """(estimators, measures) of one draw of the questions, the mean over the two halves."""
    products, spans = collection.products().among, [_span(by_question[half]) for half in halves]
    references = [_reference(collection, by_question[half]) for half in halves]
    squares = [each[span] @ products[span, span] @ each[span] for each, span in zip(references, spans, strict=True)]
    if number == 0 and not all(squared > TINY for squared in squares):  # NaN is not
        outcome = collection.outcome[by_question]
        mixed = int((outcome != outcome[:, :1]).any(dim=1).sum())
        raise ConfigError(
            "The gradient of accuracy over half of the questions is 0 or not finite, so that nothing can be compared "
            f"with it: {mixed} of {len(by_question)} questions have rollouts with "
            "different outcomes. Collect more questions, or others that the policy answers sometimes."
        )
    lengths = [squared.clamp_min(TINY).sqrt() for squared in squares]
    references = [each[span] / length for each, span, length in zip(references, spans, lengths, strict=True)]
    found = []
    for own, other in ((0, 1), (1, 0)):
        generator = plan.generator(number, own)
        half = by_question[halves[own]]
        rows = deal(half, plan, generator)
        figures = []
        for vectors, alike in groupby(estimators, key=lambda each: each.vectors):
            direction = collection.products(*vectors).with_plain[:, spans[other]] @ references[other]
            figures += _of_half(collection, [*alike], rows, half, spans[own], direction, generator)
        found.append(figures)
    return measures(np.array(found), float(references[0] @ products[spans[0], spans[1]] @ references[1]))


def _span(rows: Tensor) -> slice:
    """From the first of some rollouts to the last. Side by side, see :func:`by_halves`, they are read fastest."""
    return slice(int(rows.min()), int(rows.max()) + 1)


def measures(found: np.ndarray, reliability: float) -> np.ndarray:
    """(estimators, measures), in the order of the figures of :class:`Comparison`: the mean over the two halves.

    Args:
        found: (2, estimators, 5): cosine, signal-to-noise ratio, variance, share of rollouts with weight 0, and the
            cosine of the expected gradient, over all rollouts of the half.
        reliability: cosine of the two references.
    """
    cosine, snr, variance, idle, bias = found.mean(axis=0).T
    true_cosine = cosine / reliability**0.5 if reliability > 0 else np.full_like(cosine, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw in which the base has no signal
        ratio = snr / snr[0]
    worth = ratio * np.abs(ratio)
    return np.stack([cosine, true_cosine, cosine - cosine[0], snr, variance, bias, idle, worth], axis=1)


def _vectors(collection: Collection, rows: Tensor, and_plain: bool) -> Tensor:
    """(..., n) or (..., 2 n): the vectors of :meth:`Collection.products` that belong to some rollouts, (..., n)."""
    return torch.cat([rows, rows + len(collection.outcome)], dim=-1) if and_plain else rows


def _weights(estimator: Estimator, rollouts: Rollouts, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """The weights of an estimator, float64, for rollouts of a shape (..., n), in the places of :func:`_vectors`."""
    _, and_plain = estimator.vectors
    kinds = (estimator.weights, estimator.plain) if and_plain else (estimator.weights,)
    return torch.cat([kind(rollouts, generator).double().view(shape) for kind in kinds], dim=-1)


def _reference(collection: Collection, rows: Tensor) -> Tensor:
    """(N,) float64: weights of all rollouts in the gradient of accuracy over the given questions, (Q, G)."""
    return _sums(len(collection.outcome), rows[None], accuracy(batch_of(collection, rows)))[0]


def _sums(count: int, places: Tensor, weights: Tensor) -> Tensor:
    """(passes, count) float64: the weight of each of all vectors in the sum of a pass, whose ``places`` have these."""
    zeros = torch.zeros(len(places), count, dtype=torch.float64)
    return zeros.scatter_add_(1, places.flatten(1), weights.double().view(len(places), -1))


def deal(rows: Tensor, plan: Plan, generator: torch.Generator) -> Tensor:
    """(passes, batches, questions, n): in each pass, the questions of a half are dealt into batches."""
    batches = len(rows) // plan.questions
    order = torch.rand(plan.passes, len(rows), generator=generator).argsort(dim=1)[:, : batches * plan.questions]
    of_questions = rows[order]
    some = torch.rand(of_questions.shape, generator=generator).argsort(dim=2)[..., : plan.rollouts]
    return of_questions.gather(2, some).view(plan.passes, batches, plan.questions, -1)


def _of_half(
    collection: Collection,
    estimators: Sequence[Estimator],
    rows: Tensor,
    half: Tensor,
    span: slice,
    direction: Tensor,
    generator: torch.Generator,
) -> list[tuple[float, float, float, float, float]]:
    """The figures of estimators that weigh the same vectors, from the questions of a half; see :func:`measures`.

    Args:
        collection: the collection.
        estimators: the estimators.
        rows: (passes, batches, questions, n), see :func:`deal`.
        half: (Q, G), all rollouts of the half.
        span: the rollouts of the half are among these.
        direction: (vectors,), the projection of each vector on the reference.
        generator: random numbers of the estimators.
    """
    weighting, and_plain = estimators[0].vectors
    among = collection.products(weighting, and_plain).among
    places, whole = _vectors(collection, rows, and_plain).flatten(2), _vectors(collection, half, and_plain)
    block = among[places.unsqueeze(3), places.unsqueeze(2)]  # (passes, batches, vectors, vectors)
    dealt, of_half = (batch_of(collection, each, weighting) for each in (rows, half))
    weights, sums = [], []
    for each in estimators:
        weights.append(_weights(each, dealt, rows.shape, generator).flatten(2))
        expected = _weights(each, of_half, half.shape, generator)
        sums += [_sums(len(direction), places, weights[-1]), _sums(len(direction), whole[None], expected)]
    # one product of matrices reads the inner products of the half, 19 MB for 1536 rollouts, once for all estimators
    span = slice(None) if and_plain else span
    total = torch.cat(sums).view(len(estimators), -1, len(direction))  # (estimators, passes + 1, vectors)
    lengths = ((total[..., span] @ among[span, span]) * total[..., span]).sum(dim=2)
    biases = (total[:, -1] @ direction / lengths[:, -1].clamp_min(TINY).sqrt()).tolist()
    return [
        (
            *figures_of_batches(
                (own * direction[places]).sum(dim=2), torch.einsum("pbi,pbij,pbj->pb", own, block, own), of_pass
            ),
            float((own == 0).double().mean()),
            bias,
        )
        for own, of_pass, bias in zip(weights, lengths[:, :-1], biases, strict=True)
    ]


def figures_of_batches(projection: Tensor, squared: Tensor, of_passes: Tensor) -> tuple[float, float, float]:
    """Cosine, signal-to-noise ratio and relative variance over batches.

    Args:
        projection: (passes, batches), of the gradient of each batch on the reference.
        squared: (passes, batches), the squared length of the gradient of each batch.
        of_passes: (passes,), the squared length of the sum of the gradients of a pass.
    """
    passes, batches = squared.shape
    # |mean|^2 from pairs of batches without a common question: a batch with itself would count noise as signal
    signal = (
        (of_passes.sum() - squared.sum()) / (passes * batches * (batches - 1)) if batches > 1 else squared.new_zeros(())
    )
    # what is left of a signal or a gradient that cancels is rounding, whose size and direction mean nothing
    variance = float(squared.mean() / signal) - 1 if signal > ROUNDING * squared.mean() else float("nan")
    cosine = torch.where(squared > ROUNDING * squared.mean(), projection / squared.clamp_min(TINY).sqrt(), 0.0)
    # the batches of two passes share questions, so that only those of one pass differ as much as independent ones
    snr = projection.mean() / projection.var(dim=1).mean().sqrt().clamp_min(TINY) if batches > 1 else float("nan")
    return float(cosine.mean()), float(snr), variance


def where_it_comes_from(
    collection: Collection, estimator: Estimator, plan: Plan, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Share of the questions, and share of the expected projection on the reference, by the outcomes of a question.

    Args:
        collection: the rollouts.
        estimator: the estimator, over all rollouts of a question.
        plan: its seed deals the questions into halves.
        seed: of the estimator's random numbers.

    Returns:
        ``all wrong``, ``mixed`` and ``all right``, which say whether an outcome of the question's rollouts is above 0,
        to both shares.
    """
    by_question = rollouts_by_question(collection, plan)
    halves = plan.halves(len(by_question))
    right = (collection.outcome[by_question] > 0).double().mean(dim=1)
    classes = {"all wrong": right == 0, "mixed": (right > 0) & (right < 1), "all right": right == 1}
    shares = dict.fromkeys(classes, 0.0)
    for own, other in ((0, 1), (1, 0)):
        reference = _reference(collection, by_question[halves[other]])
        direction = collection.products(*estimator.vectors).with_plain @ reference
        random = torch.Generator().manual_seed(seed)
        rows, (_, and_plain) = by_question[halves[own]], estimator.vectors
        weights = _weights(estimator, batch_of(collection, rows, estimator.tokens), rows.shape, random)
        projection = (weights * direction[_vectors(collection, rows, and_plain)]).sum(dim=1)
        for name, members in classes.items():
            shares[name] += float(projection[members[halves[own]]].sum() / projection.sum()) / 2
    return {name: (float(members.double().mean()), shares[name]) for name, members in classes.items()}
