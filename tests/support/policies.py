# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Policies whose gradients are known, as the lens collects them."""

from __future__ import annotations

import torch

from verl_mapo.lens.collection import Collection


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
