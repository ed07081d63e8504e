# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Compares estimators whose batches cannot be dealt from single questions: AXPO on the steps that a run rolled out.

Which rollouts AXPO continues is a choice among all questions of a step, within a budget for the step. So each collected
step is a batch of AXPO, and a larger batch is a union of steps. AXPO compares a rollout with rollouts of its question,
and a continuation with those of its prefix: its weights in a union are those in the step. The update of a step is
therefore one vector for each estimator, and the bootstrap draws steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from verl_mapo.lens.collection import WEIGHTED, Collection
from verl_mapo.lens.comparison import (
    TINY,
    Comparison,
    Figure,
    Plan,
    bootstrap,
    deal,
    figures_of_batches,
    measures,
    rollouts_of,
)
from verl_mapo.lens.estimators import Estimator, accuracy
from verl_mapo.settings import ConfigError


@dataclass(frozen=True)
class StepComparison(Comparison):
    """What the lens found of one estimator on whole steps; ``worth`` counts every continuation as a rollout.

    Attributes:
        step_worth: steps of the base that give the same signal-to-noise ratio as one of this estimator.
        rollouts: mean number of rollouts of a step, with the continuations that the estimator weighs.
    """

    step_worth: Figure
    rollouts: float


@dataclass(frozen=True)
class Steps:
    """The comparison on whole steps.

    Attributes:
        number: of steps.
        questions: of a step, of which some may be left out.
        rollouts: of each question, without continuations.
        continuations: of all steps.
        table: one row an estimator; the first is the base.
    """

    number: int
    questions: int
    rollouts: int
    continuations: int
    table: list[StepComparison]


def compare_steps(collection: Collection, estimators: Sequence[Estimator], plan: Plan) -> Steps:
    """Compare estimators on whole steps; the first one is the base.

    Args:
        collection: of a run of AXPO.
        estimators: the rows of the table; those without ``continuations`` see the original rollouts alone.
        plan: how batches are dealt; ``questions`` is a multiple of the questions of a step, and ``rollouts`` is not
            read, because a step has those that it was rolled out with.

    Raises:
        ConfigError: batches of so many questions are no whole steps, or there are too few steps for two of them.
    """
    originals = collection.originals()
    number, questions = len(originals.resampled("step").unique()), collection.manifest["step_questions"]
    size, rest = divmod(plan.questions, questions)
    if rest or not 1 <= size <= number // 2:
        raise ConfigError(
            f"--batch {plan.questions} is refused: the continuations of AXPO belong to steps of {questions} questions, "
            f"of which there are {number}. Give a multiple of {questions}, at most {number // 2 * questions}."
        )
    plan = replace(plan, questions=size, rollouts=1)
    seen = [collection if each.continuations else originals for each in estimators]
    rows = bootstrap([each.name for each in estimators], number, _Measure(originals, seen, estimators, plan), plan)
    rollouts = [len(each.outcome) / number for each in seen]
    return Steps(
        number=number,
        questions=questions,
        rollouts=int(torch.bincount(originals.question)[0]),
        continuations=len(collection.outcome) - len(originals.outcome),
        table=[
            StepComparison(
                **vars(row) | {"worth": Figure(*(value * rollouts[0] / own for value in row.worth))},
                step_worth=row.worth,
                rollouts=own,
            )
            for row, own in zip(rows, rollouts, strict=True)
        ],
    )


class _Measure:
    """The measures of two halves of the steps, see :func:`verl_mapo.lens.comparison.bootstrap`.

    Args:
        originals: the rollouts that give the reference.
        seen: the rollouts that each estimator weighs.
        estimators: the rows of the table.
        plan: questions and rollouts of a batch are steps and 1.
    """

    def __init__(
        self, originals: Collection, seen: Sequence[Collection], estimators: Sequence[Estimator], plan: Plan
    ) -> None:
        self.seen, self.estimators, self.plan = seen, estimators, plan
        self.climbs, _ = updates(originals, Estimator("accuracy", accuracy), torch.Generator())
        self.climbs_among = (self.climbs @ self.climbs.T).double()
        self.fixed = [self._products(row, 0) for row in range(len(estimators))]

    def _products(self, row: int, number: int) -> tuple[Tensor, Tensor, float]:
        """(S, S) inner products of an estimator's updates, those with the reference's, and the idle share."""
        found, idle = updates(self.seen[row], self.estimators[row], self.plan.generator(number))
        return (found @ found.T).double(), (found @ self.climbs.T).double(), idle

    def __call__(self, halves: Sequence[np.ndarray], number: int) -> np.ndarray:
        """(estimators, measures); a placebo is drawn anew with each draw of the bootstrap."""
        products = [
            self._products(row, number) if number and each.placebo else self.fixed[row]
            for row, each in enumerate(self.estimators)
        ]
        climbs = self.climbs_among
        drawn = [torch.from_numpy(half) for half in halves]
        times = [torch.bincount(half, minlength=len(climbs)).double() for half in drawn]
        references = [each / (each @ climbs @ each).sqrt().clamp_min(TINY) for each in times]
        found = []
        for own, other in ((0, 1), (1, 0)):
            generator = self.plan.generator(number, own)
            dealt = deal(drawn[own].unsqueeze(1), self.plan, generator).squeeze(3)  # (passes, batches, steps)
            batches = torch.zeros(*dealt.shape[:2], len(climbs), dtype=torch.float64)
            batches.scatter_add_(2, dealt, torch.ones_like(dealt, dtype=torch.float64))
            figures = []
            for among, with_reference, idle in products:
                direction = with_reference @ references[other]
                squared = torch.einsum("pbs,st,pbt->pb", batches, among, batches)
                of_passes = torch.einsum("ps,st,pt->p", batches.sum(dim=1), among, batches.sum(dim=1))
                whole = times[own]
                bias = whole @ direction / (whole @ among @ whole).clamp_min(TINY).sqrt()
                figures.append((*figures_of_batches(batches @ direction, squared, of_passes), idle, float(bias)))
            found.append(figures)
        return measures(np.array(found), float(references[0] @ climbs @ references[1]))


def updates(collection: Collection, estimator: Estimator, random: torch.Generator) -> tuple[Tensor, float]:
    """The update of each step under an estimator, and the share of the rollouts that it leaves out.

    Args:
        collection: the rollouts that it weighs.
        estimator: of plain gradients; or with continuations, so that it weighs the prefix of a rollout and the rest.
        random: random numbers of a placebo.

    Returns:
        (S, M) float32, the sum over the rollouts of a step, and the share of the rollouts with weight 0.
    """
    number, step = len(collection.outcome), collection.resampled("step").unique(return_inverse=True)[1]
    weights = estimator.weights(
        rollouts_of(collection, torch.arange(number), collection.question, step, estimator.tokens), random
    ).double()
    idle = float((weights.view(number, -1) == 0).all(dim=1).double().mean())
    parts = [(collection.sketches, weights)]
    if estimator.continuations:  # the rest of a rollout is its plain gradient without that of the prefix
        prefix, rest = weights.unbind(dim=1)
        parts = [(collection.sketches, rest), (collection.further[WEIGHTED + estimator.tokens], prefix - rest)]
    found = torch.zeros(int(step.max()) + 1, collection.sketches.shape[1])
    for vectors, own in parts:
        places = torch.zeros(len(found), number).index_put_((step, torch.arange(number)), own.float())
        found += places @ vectors
    return found, idle
