# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Policies whose gradients are known, as the lens collects them."""

from __future__ import annotations

from dataclasses import replace

import torch

from verl_mapo.columns import CONTINUATION, PLAIN, SOURCE
from verl_mapo.lens.collection import RESAMPLED, ROW_SCORE, WEIGHTED, Collection
from verl_mapo.lens.estimators import Estimator


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
    return replace(plain, further=scores | sketches)


def resampled_steps(steps: int, questions: int, seed: int = 0) -> Collection:
    """Steps of AXPO with questions of 4 rollouts; one source of each question whose rollouts are all wrong, continued 4
    times.

    A rollout tosses a coin as its prefix, then one that falls right with probability 1/5, and one without any effect.
    It is right if both of the first two are. A continuation has the prefix of its source and new coins after it.
    """
    random = torch.Generator().manual_seed(seed)

    def tosses(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        return (torch.rand(count, generator=random) < 0.2).float(), torch.randn(count, generator=random)

    parts: list[dict[str, torch.Tensor]] = []
    for number in range(steps * questions):
        prefix, (rest, noise) = torch.randint(2, (4,), generator=random).float(), tosses(4)
        role, again = [PLAIN] * 4, not (prefix * rest).any()
        if again:
            role, (new_rest, new_noise) = [SOURCE, *[PLAIN] * 3, *[CONTINUATION] * 4], tosses(4)
            prefix, rest, noise = (
                torch.cat([prefix, prefix[:1].expand(4)]),
                *map(torch.cat, ([rest, new_rest], [noise, new_noise])),
            )
        role = torch.tensor(role)
        own = (role != CONTINUATION).float()
        of_prefix = torch.stack([(prefix - 0.5) * own, torch.zeros_like(rest), torch.zeros_like(rest)], dim=1)
        of_rest = torch.stack([torch.zeros_like(rest), rest - 0.2, noise], dim=1)
        parts.append(
            {
                "sketches": of_prefix + of_rest,
                "question": torch.full_like(role, number),
                "outcome": prefix * rest,
                "tokens": 3 + 2 * (role != CONTINUATION).long(),
                WEIGHTED + "axpo": of_prefix * (role == SOURCE).unsqueeze(1),
                ROW_SCORE + "axpo": torch.full((len(role),), torch.nan),
                RESAMPLED + "role": role,
                RESAMPLED + "prefix_id": torch.where(role == PLAIN, -1, 0),
                RESAMPLED + "prefix_tokens": 2 * (role == SOURCE).long(),
                RESAMPLED + "step": torch.full_like(role, number // questions),
            }
        )
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    own = {name: joined.pop(name) for name in ("sketches", "question", "outcome", "tokens")}
    nothing = torch.zeros(len(own["outcome"]), 1)
    return Collection(
        **own,
        turn_scores=nothing,
        turn_status=nothing.long(),
        calls=torch.ones_like(own["question"]),
        manifest={"step_questions": questions},
        further=joined,
    )


def with_wrong_sign(estimator: Estimator) -> Estimator:
    """An estimator with continuations, with the sign of the prefixes' weights changed."""
    sign = torch.tensor([-1.0, 1.0])
    return replace(estimator, name="wrong sign", weights=lambda *given: estimator.weights(*given) * sign)
