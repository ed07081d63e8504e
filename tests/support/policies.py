# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Policies whose gradients are known, as the lens collects them."""

from __future__ import annotations

from dataclasses import replace

import torch

from verl_mapo.lens.collection import ROW_SCORE, WEIGHTED, Collection


def coin(questions: int, n: int, noise: float = 0.0, seed: int = 0) -> Collection:
    """A policy of two parameters that tosses two coins, one right with probability 1/2 and one without any effect.

    Its score function is (a - 1/2, z) with a in {0, 1} and z in {-1, 1}. The outcome is a, or a coin's toss with
    probability ``noise``; the score of the only turn is 0.2 + 0.1 a with a little noise.
    """
    random = torch.Generator().manual_seed(seed)
    rows = questions * n
    right, idle = (torch.randint(2, (rows,), generator=random).float() for _ in range(2))
    luck = torch.rand(rows, generator=random) < noise
    outcome = torch.where(luck, torch.randint(2, (rows,), generator=random).float(), right)
    return Collection(
        sketches=torch.stack([right - 0.5, 2 * idle - 1], dim=1),
        question=torch.arange(questions).repeat_interleave(n),
        outcome=outcome,
        turn_scores=(0.2 + 0.1 * right + 0.02 * torch.randn(rows, generator=random)).unsqueeze(1),
        turn_status=torch.ones(rows, 1, dtype=torch.int64),
        tokens=torch.full((rows,), 7),
        calls=torch.ones(rows, dtype=torch.int64),
        manifest={},
    )


def two_tokens(questions: int, factors: tuple[float, float], seed: int = 0) -> Collection:
    """The coins of :func:`coin` as two tokens of a rollout, two rollouts a question, with one factor for each token.

    The first token is the coin that decides, with the gradient (a - 1/2, 0); the second has the gradient (0, z). The
    weighting ``vgpo`` multiplies them by the factors, its placebo by the factors in a random order.
    """
    plain, random = coin(questions, 2, seed=seed), torch.Generator().manual_seed(seed + 1)
    own = torch.tensor(factors)
    orders = torch.rand(len(plain.outcome), 2, generator=random).argsort(dim=1)
    scores = {ROW_SCORE + name: torch.full_like(plain.outcome, torch.nan) for name in ("vgpo", "vgpo, shuffled")}
    sketches = {WEIGHTED + "vgpo": plain.sketches * own, WEIGHTED + "vgpo, shuffled": plain.sketches * own[orders]}
    return replace(plain, weighted=scores | sketches)
