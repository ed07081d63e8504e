# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The factors of token-weighted estimators inside a log-prob pass, each with its placebo.

The lens keeps one vector a rollout for each weighting f: the gradient of sum_t f_t log pi_t. That suffices where f
depends on the rollout alone, as the token factors of VGPO and PEPO do; what depends on the group, such as the
advantage and VGPO's trajectory factor, is one number a rollout, which the comparison multiplies. All settings have
their defaults.

The placebo exchanges the factors among the tokens of a row that have a score: the same factors, in the same row, which
say nothing about their tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from tensordict import TensorDict
from torch import Tensor

from verl_mapo import names
from verl_mapo.advantages.visual_credit import VisualCreditSettings, token_factor
from verl_mapo.packed_rows import from_response, to_response


class Factors(NamedTuple):
    """The factors of B rows with L response positions.

    Attributes:
        factor: (B, L) float32.
        row_score: (B,) float64, the number that the group compares; NaN where the row has none.
    """

    factor: Tensor
    row_score: Tensor


def placebo(name: str) -> str:
    """The name of a weighting's placebo, in a collection and in the table."""
    return f"{name}, shuffled"


@torch.no_grad()
def weightings(
    scores: dict[str, Tensor], entropy: Tensor | None, micro_batch: TensorDict, seed: int
) -> tuple[list[Tensor], list[Tensor]]:
    """The weights of all positions of a micro-batch, of each weighting and then of its placebo.

    Args:
        scores: name of a weighting to (N,) float32 focus scores at packed positions, each one position before its
            token; NaN where there is none.
        entropy: jagged, the entropy at each packed position in nats; PEPO needs it.
        micro_batch: verl's micro-batch.
        seed: of the placebos.

    Returns:
        (N,) float32 on the CPU twice for each weighting; and (B,) float64, the score of each row, once for each.
    """
    ids, masks = micro_batch["input_ids"].cpu(), micro_batch["response_mask"].cpu()
    mask = masks.to_padded_tensor(0)
    offsets, lengths = ids.offsets(), masks.offsets().diff()
    weights, row_scores = [], []
    for name, packed in scores.items():
        score = to_response(packed.cpu(), offsets, lengths, torch.nan)
        scored = (mask != 0) & ~score.isnan()
        spread = None if entropy is None else to_response(entropy.values().cpu().float(), offsets, lengths, 0.0)
        found = factors(name, score, scored, mask, spread)
        exchanged = exchange(found.factor, scored, [seed + int(row.sum()) for row in ids.unbind()])
        weights += [from_response(each, offsets, lengths) for each in (found.factor, exchanged)]
        row_scores.append(found.row_score)
    return weights, row_scores


def factors(name: str, score: Tensor, scored: Tensor, mask: Tensor, entropy: Tensor | None) -> Factors:
    """The factors of one weighting.

    Args:
        name: ``vgpo`` or ``pepo``.
        score: (B, L) float32, the focus score of each token.
        scored: (B, L) bool, the policy tokens that have one.
        mask: (B, L), 1 on policy tokens.
        entropy: (B, L) float32, in nats.
    """
    if name == names.PEPO:
        from verl_mapo.relatives.pepo import pepo_factor  # a run imports the relatives that it uses and no other

        if entropy is None:
            raise RuntimeError("The log-prob pass gave no entropy, which the weights of pepo need.")
        factor = pepo_factor(2 * score - 1, entropy, scored, progress=1.0)
        return Factors(factor, score.new_full((len(score),), torch.nan, dtype=torch.float64))
    found = token_factor(score, scored, mask, VisualCreditSettings())
    return Factors(found.factor, found.trajectory_score.masked_fill(~found.visual, torch.nan))


def exchange(factor: Tensor, scored: Tensor, seeds: list[int]) -> Tensor:
    """(B, L): the factors of each row exchanged at random among its scored tokens.

    Args:
        factor: (B, L).
        scored: (B, L) bool.
        seeds: one a row, so that a row's placebo does not depend on its micro-batch.
    """
    exchanged = factor.clone()
    for row, (at, seed) in enumerate(zip(scored, seeds, strict=True)):
        there = at.nonzero().squeeze(1)
        order = torch.randperm(len(there), generator=torch.Generator().manual_seed(seed))
        exchanged[row, there] = factor[row, there[order]]
    return exchanged
