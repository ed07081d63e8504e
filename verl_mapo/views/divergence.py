# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""How far the log-probs of a row's tokens are from those under a changed view.

    k3(d) = e^d - d - 1,    d = log q - log p

p is the policy, q the same policy under the changed view, both at the sampled tokens. k3 is 0 where they agree and
positive elsewhere, and its mean over tokens sampled from p estimates KL(p || q).
"""

from __future__ import annotations

import torch
from torch import Tensor

from verl_mapo.advantages.groups import EQUAL

LARGEST_STEP, LARGEST = 20.0, 10.0
"""Bounds of d and of k3, those of the authors of VPPO and of verl's low_var_kl."""


def divergence(log_probs: Tensor, changed: Tensor) -> Tensor:
    """k3 of each token, cut to [0, 10]; NaN where ``changed`` is. Gradients flow through ``log_probs``.

    Args:
        log_probs: (B, L) float, log p.
        changed: (B, L) float, log q.
    """
    step = (changed - log_probs).clamp(-LARGEST_STEP, LARGEST_STEP)
    return (torch.expm1(step) - step).clamp(0, LARGEST)


def min_max(values: Tensor, at: Tensor) -> Tensor:
    """Values of each row scaled to [0, 1] over the places where ``at`` is true; 0 elsewhere.

    Values that are all the same, up to :data:`~verl_mapo.advantages.groups.EQUAL` of the largest, are 0.

    Args:
        values: (B, L) float; not read elsewhere.
        at: (B, L) bool.
    """
    limits = torch.finfo(values.dtype)
    lowest = torch.where(at, values, limits.max).amin(dim=1, keepdim=True)
    highest = torch.where(at, values, -limits.max).amax(dim=1, keepdim=True)
    extent = highest - lowest
    differ = at & (extent > EQUAL * torch.maximum(lowest.abs(), highest.abs()))
    return torch.where(differ, (values - lowest) / extent.clamp_min(limits.tiny), 0.0)
