# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Estimators of the policy gradient as weights of rollouts.

At the policy that made the rollouts every importance ratio is 1, so nothing is clipped, and the update of a batch is a
weighted sum of the rollouts' gradients of log-probs: PPO's clip, DAPO's clip-higher and GSPO's sequence ratio have no
effect here, and only the advantage and the length normalisation of the loss tell estimators apart.

Weights may have any common factor: cosines and signal-to-noise ratios do not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from verl_mapo import names
from verl_mapo.advantages.axpo import (
    AxpoSettings,
    axpo_advantage,
    axpo_groups,
    grpo_base,
    loss_masks,
    recovered_prefixes,
)
from verl_mapo.advantages.groups import grpo_advantage
from verl_mapo.advantages.mapo import MapoSettings, mapo_advantage
from verl_mapo.columns import CONTINUATION, CORRECT, SCORED
from verl_mapo.lens.token_weights import placebo


@dataclass(frozen=True)
class Rollouts:
    """Rollouts of one or several batches, n of each question of a batch, and AXPO's continuations where it has some.

    Attributes:
        outcome: (B,) float.
        turn_scores: (B, T) float.
        turn_status: (B, T) integer.
        tokens: (B,) integer, number of policy tokens.
        calls: (B,) integer, number of calls.
        row_score: (B,) float, the score of a rollout under a token weighting; NaN where it has none.
        role, prefix_id, prefix_tokens: (B,) int64, see :attr:`verl_mapo.lens.collection.Collection.further`.
        group: (B,) int64, number of the question within all batches.
        batch: (B,) int64, number of the batch.
    """

    outcome: Tensor
    turn_scores: Tensor
    turn_status: Tensor
    tokens: Tensor
    calls: Tensor
    row_score: Tensor
    role: Tensor
    prefix_id: Tensor
    prefix_tokens: Tensor
    group: Tensor
    batch: Tensor


Weights = Callable[[Rollouts, torch.Generator], Tensor]
"""Rollouts and a generator of random numbers to the weight of each rollout, (B,) float64; of an estimator with
continuations, (B, 2) float64: the weights of the rollout's prefix and of the rest of it."""


@dataclass(frozen=True)
class Estimator:
    """One row of the lens's table.

    Attributes:
        name: its name in the table.
        weights: of the rollouts' gradients.
        placebo: the estimator whose signal is taken out of this one; "" if it is no placebo.
        options: what is shown of its settings.
        tokens: the token weighting whose gradients it weighs, see :mod:`verl_mapo.lens.token_weights`; "" for the plain
            gradients.
        plain: for an estimator that adds plain gradients to those with token weights: their weights, like ``weights``.
        continuations: whether it weighs continuations too. They are those of a whole step, so that whole steps are
            dealt, see :mod:`verl_mapo.lens.steps`, and the gradients with token weights are those of the prefixes.
    """

    name: str
    weights: Weights
    placebo: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    tokens: str = ""
    plain: Weights | None = None
    continuations: bool = False

    @property
    def vectors(self) -> tuple[str, bool]:
        """The arguments of :meth:`verl_mapo.lens.collection.Collection.products` for the vectors that it weighs."""
        return self.tokens, self.plain is not None


def grpo(rollouts: Rollouts, _: torch.Generator | None = None) -> Tensor:
    """GRPO (arXiv 2402.03300): the outcome, centred and divided by the standard deviation of its group."""
    return _column(rollouts, by_std=True)


def dr_grpo(rollouts: Rollouts, _: torch.Generator | None = None) -> Tensor:
    """Dr. GRPO (arXiv 2503.20783): the outcome centred on its group."""
    return _column(rollouts, by_std=False)


def rloo(rollouts: Rollouts, _: torch.Generator | None = None) -> Tensor:
    """RLOO (arXiv 2402.14740): the outcome minus the mean outcome of the group's other rollouts."""
    ones = torch.ones_like(rollouts.outcome, dtype=torch.float64)
    count = ones.new_zeros(int(rollouts.group.max()) + 1).index_add_(0, rollouts.group, ones)[rollouts.group]
    return _column(rollouts, by_std=False) * count / (count - 1).clamp_min(1)


def reinforce_plus_plus_baseline(rollouts: Rollouts, _: torch.Generator | None = None) -> Tensor:
    """REINFORCE++-baseline (arXiv 2501.03262): centred on the group, then whitened over the tokens of the batch."""
    centred, batch, tokens = _column(rollouts, by_std=False), rollouts.batch, rollouts.tokens.double()

    def mean(values: Tensor) -> Tensor:
        total = values.new_zeros(int(batch.max()) + 1)
        return (total.index_add(0, batch, values * tokens) / total.index_add(0, batch, tokens).clamp_min(1))[batch]

    shifted = centred - mean(centred)
    return shifted / (mean(shifted.square()) + 1e-8).sqrt()


def gspo(rollouts: Rollouts, _: torch.Generator | None = None) -> Tensor:
    """GSPO (arXiv 2507.18071) at ratio 1: GRPO's advantage, with the loss averaged within each sequence first."""
    return grpo(rollouts) / rollouts.tokens.double().clamp_min(1)


def mapo(settings: MapoSettings) -> Weights:
    """MAPO (arXiv 2604.06777) with any settings except ``credit: turn``, which weights tokens and not rollouts."""

    def weights(rollouts: Rollouts, _: torch.Generator | None = None) -> Tensor:
        one = torch.ones(len(rollouts.outcome), 1, dtype=torch.float64)
        spans = torch.full((*rollouts.turn_scores.shape, 2), -1)
        return mapo_advantage(
            rollouts.outcome.double(), rollouts.turn_scores, rollouts.turn_status, spans, one, rollouts.group, settings
        ).advantages[:, 0]

    return weights


def with_placebo(settings: MapoSettings) -> list[Estimator]:
    """MAPO with some settings, named by its beta, and its placebo, :func:`shuffled`."""
    weights, name = mapo(settings), f"mapo beta={settings.beta:g}"
    return [
        Estimator(name, weights, options={"beta": settings.beta}),
        Estimator(placebo(name), shuffled(weights), placebo=name, options={"beta": settings.beta}),
    ]


def shuffled(weights: Weights) -> Weights:
    """The placebo of an estimator: the turns' scores exchanged among the scored rollouts of their group.

    The scores keep their distribution in the group, and lose what they say about a rollout.
    """

    def of_exchanged(rollouts: Rollouts, random: torch.Generator) -> Tensor:
        source = exchanged((rollouts.turn_status == SCORED).any(dim=1), rollouts.group, random)
        scores, status = rollouts.turn_scores[source], rollouts.turn_status[source]
        return weights(replace(rollouts, turn_scores=scores, turn_status=status), random)

    return of_exchanged


def calls_exchanged(weights: Weights) -> Weights:
    """The placebo of a method of tool credit: the numbers of calls exchanged among the right rollouts of their group.

    The right rollouts of a group keep the distribution of their calls, and the calls lose what they say about a
    rollout.
    """

    def of_exchanged(rollouts: Rollouts, random: torch.Generator) -> Tensor:
        source = exchanged(rollouts.outcome >= CORRECT, rollouts.group, random)
        return weights(replace(rollouts, calls=rollouts.calls[source]), random)

    return of_exchanged


def tool_credit(name: str, advantage: Callable[..., Any], settings: Any) -> list[Estimator]:
    """A method that acts on the number of calls, and its placebo.

    Args:
        name: its name in the table.
        advantage: outcome, calls, mask, group and settings to a result whose ``advantages`` are the weights.
        settings: its settings.
    """

    def weights(rollouts: Rollouts, _: torch.Generator | None = None) -> Tensor:
        one = torch.ones(len(rollouts.outcome), 1, dtype=torch.float64)
        return advantage(rollouts.outcome.double(), rollouts.calls, one, rollouts.group, settings).advantages[:, 0]

    return [
        Estimator(name, weights),
        Estimator(f"{name}, shuffled", calls_exchanged(weights), placebo=name),
    ]


def token_weighted(name: str, weights: Weights = grpo, plain: Weights | None = None) -> list[Estimator]:
    """An estimator whose token weights depend on the rollout alone, and its placebo.

    The placebo exchanges the token weights within each rollout, and the scores of the rollouts within their group.

    Args:
        name: its name, and that of its token weighting.
        weights: what it multiplies the weighted gradient of a rollout by.
        plain: what it multiplies the plain gradient of a rollout by and adds; None for nothing.
    """

    def of_exchanged(rollouts: Rollouts, random: torch.Generator) -> Tensor:
        source = exchanged(~rollouts.row_score.isnan(), rollouts.group, random)
        return weights(replace(rollouts, row_score=rollouts.row_score[source]), random)

    shuffled_name = placebo(name)
    return [
        Estimator(name, weights, tokens=name, plain=plain),
        Estimator(shuffled_name, of_exchanged, placebo=name, tokens=shuffled_name, plain=plain),
    ]


def resampled(name: str, settings: AxpoSettings) -> list[Estimator]:
    """AXPO (arXiv 2605.28774) on whole steps, and its placebo.

    The placebo exchanges the outcomes of the continuations among all continuations of the step: as many are right, and
    they say nothing about their prefix.

    Args:
        name: its name, and that of the token weighting that is 1 on the prefix of a rollout.
        settings: its settings, without ``alignment``.
    """

    def weights(rollouts: Rollouts, _: torch.Generator | None = None) -> Tensor:
        """The advantages of rollouts of two tokens: the prefix, and the rest; a token that is not there is masked."""
        outcome, group, role, prefix_id = rollouts.outcome.double(), rollouts.group, rollouts.role, rollouts.prefix_id
        tokens = torch.stack([rollouts.prefix_tokens, rollouts.tokens - rollouts.prefix_tokens], dim=1)
        mask, length = tokens.clamp(0, 1), torch.ones_like(role)
        recovered = recovered_prefixes(outcome, mask, group, role, prefix_id)
        acted_on, _divided_by = loss_masks(mask, recovered, role, length, settings)
        base = grpo_base(outcome, acted_on, axpo_groups(group, role, prefix_id, settings), settings)
        return axpo_advantage(outcome, base, acted_on, group, role, length, prefix_id, settings).advantages

    def of_exchanged(rollouts: Rollouts, random: torch.Generator) -> Tensor:
        source = exchanged(rollouts.role == CONTINUATION, rollouts.batch, random)
        return weights(replace(rollouts, outcome=rollouts.outcome[source]))

    return [
        Estimator(name, weights, tokens=name, continuations=True),
        Estimator(placebo(name), of_exchanged, placebo=name, tokens=name, continuations=True),
    ]


def exchanged(member: Tensor, group: Tensor, random: torch.Generator) -> Tensor:
    """(B,) int64: for each member the number of a random member of its group, each once; other rows stay."""
    order = torch.rand(len(member), generator=random, dtype=torch.float64)
    there, source = member.nonzero().squeeze(1), torch.arange(len(member))
    source[there[torch.argsort(group[there], stable=True)]] = there[torch.argsort(group[there] + order[there])]
    return source


def accuracy(rollouts: Rollouts, _: torch.Generator | None = None) -> Tensor:
    """Weights of the reference, the gradient of the mean outcome: RLOO's, which are not biased."""
    return rloo(rollouts)


def table(betas: tuple[float, ...] = (0.2, 0.4, 1.0)) -> list[Estimator]:
    """The estimators that need no more than plain gradients, outcomes and scores; the first is the base.

    Args:
        betas: MAPO's weights of the alignment, each with its placebo.
    """
    plain = {
        "grpo": grpo,
        "dr_grpo": dr_grpo,
        "rloo": rloo,
        "reinforce++-baseline": reinforce_plus_plus_baseline,
        "gspo": gspo,
    }
    rows = [Estimator(name, weights) for name, weights in plain.items()]
    for beta in betas:
        rows += with_placebo(MapoSettings(beta=beta))
    rows.append(Estimator("mapo beta=0", mapo(MapoSettings(beta=0)), placebo=names.MAPO, options={"beta": 0.0}))
    rows.append(Estimator("mapo gated", mapo(MapoSettings(coupling="gated")), options={"coupling": "gated"}))
    return rows


def _column(rollouts: Rollouts, by_std: bool) -> Tensor:
    one = torch.ones(len(rollouts.outcome), 1, dtype=torch.float64)
    return grpo_advantage(rollouts.outcome.double(), one, rollouts.group, by_std=by_std)[:, 0]
