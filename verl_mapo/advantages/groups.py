# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Group-relative arithmetic that all estimators share: group numbers, group statistics, and normalisation.

A *group* is the rollouts of one prompt (verl's ``uid``). Functions take one value per row and the number of the row's
group; they know nothing of verl. Nothing loops over rows or groups: each function is one or two scatter-adds on the
device of its input.

All methods compare rows by one rule:

- A row takes part in the statistics of its group if the loss acts on at least one of its tokens. Padding, a rollout
  that generated nothing (such as one whose image cannot be shown), and a rollout all of whose tokens verl's rollout
  correction rejected take no part: their rewards change no other row's advantage. verl's own GRPO counts every row.
- A row without another row to be compared with has advantage 0. verl's own GRPO leaves it its reward.
- Rows whose values are equal up to float32 rounding have advantage exactly 0 (:data:`EQUAL`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

EPS = 1e-6
"""Added to every standard deviation before dividing, as verl's GRPO does (its ``epsilon``)."""

EQUAL = 1e-6
"""Values count as equal if their spread is at most this share of their size: about eight units of float32 rounding. To
divide such a spread by itself would scale rounding noise to 1."""


def group_ids(index: Sequence[Hashable] | np.ndarray) -> Tensor:
    """Number the groups of a batch from 0, in order of first appearance.

    Args:
        index: (B,) the uid of each row, of any hashable type; verl's numpy object array or a list.

    Returns:
        (B,) int64 on the CPU; dense: every number from 0 to its maximum occurs.
    """
    labels = index.tolist() if isinstance(index, np.ndarray) else list(index)
    number = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return torch.from_numpy(np.fromiter(map(number.__getitem__, labels), np.int64, len(labels)))


class GroupStats(NamedTuple):
    """Statistics of each group, all of shape (n_groups,), with n_groups = the largest group number + 1.

    Attributes:
        count: int64, number of valid members.
        mean: mean of the valid members; 0 if there are none.
        std: their standard deviation; exactly 0 for fewer than two, and for members that count as :data:`EQUAL`.
    """

    count: Tensor
    mean: Tensor
    std: Tensor


@torch.no_grad()
def group_stats(values: Tensor, group: Tensor, valid: Tensor | None = None, *, correction: int = 1) -> GroupStats:
    """Count, mean and standard deviation of the valid members of each group.

    Args:
        values: (N,) float, or (N, T) when each row has T members. Invalid members may be NaN: they have no effect.
        group: (N,) int64 group numbers, as :func:`group_ids` gives them.
        valid: bool of the shape of ``values``; all members when None.
        correction: as in :func:`torch.std`: 1 for the sample form of the standard deviation, 0 for the population form.
    """
    valid = torch.ones_like(values, dtype=torch.bool) if valid is None else valid
    n_groups = int(group.max()) + 1 if group.numel() else 0

    def total(members: Tensor) -> Tensor:
        of_rows = members if members.ndim == 1 else members.sum(dim=1)
        return of_rows.new_zeros(n_groups).index_add_(0, group, of_rows)

    count = total(valid.to(values.dtype))
    mean = total(torch.where(valid, values, 0.0)) / count.clamp_min(1)
    squares = total(torch.where(valid, values - mean[_rows(group, values)], 0.0).square())
    std = (squares / (count - correction).clamp_min(1)).sqrt()
    return GroupStats(count.long(), mean, torch.where(are_equal(mean, std), 0.0, std))


def are_equal(mean: Tensor, std: Tensor) -> Tensor:
    """Whether values of this mean and standard deviation count as :data:`EQUAL`; bool of the common shape.

    The size of values is that of their mean, and at least 1: a sum that cancels to 0 has the rounding of its terms.
    """
    return std <= EQUAL * mean.abs().clamp_min(1)


def _rows(group: Tensor, values: Tensor) -> Tensor:
    """Group numbers shaped to broadcast a group's statistic over the members of each row."""
    return group if values.ndim == 1 else group.unsqueeze(1)


class Normalised(NamedTuple):
    """Result of :func:`group_normalise`.

    Attributes:
        value: the normalised values, in the shape and dtype of the input.
        stats: the group statistics, before the floor.
        counted: (n_groups,) bool, the group has at least two valid members, so that they can be compared.
        floored: (n_groups,) bool, the group is counted, and its standard deviation was below ``min_std``, which took
            its place as the divisor.
    """

    value: Tensor
    stats: GroupStats
    counted: Tensor
    floored: Tensor


@torch.no_grad()
def group_normalise(
    values: Tensor,
    group: Tensor,
    valid: Tensor | None = None,
    *,
    by_std: bool = True,
    min_std: float = 0.0,
    correction: int = 1,
) -> Normalised:
    """Centre each value on its group and divide by the group's spread: (x - mean) / (max(std, min_std) + EPS).

    The members of a group without spread get exactly 0: a single valid member, and members that count as :data:`EQUAL`.
    The statistics are float64.

    The floor ``min_std`` keeps small differences small: without it, a group whose members barely differ would be scaled
    to unit standard deviation, noise included.

    Args:
        values: (N,) or (N, T) float, as for :func:`group_stats`.
        group: (N,) int64 group numbers.
        valid: bool of the shape of ``values``, the members that take part; the others get exactly 0. All when None.
        by_std: divide by the standard deviation (GRPO) or only centre (Dr.GRPO); verl's ``norm_adv_by_std_in_grpo``.
            Without the division the floor does not apply.
        min_std: smallest divisor, in the unit of ``values``; 0 for none, which is verl's GRPO.
        correction: as in :func:`torch.std`: 1 for the sample form of the standard deviation, which is verl's, 0 for the
            population form.
    """
    valid = torch.ones_like(values, dtype=torch.bool) if valid is None else valid
    exact, rows = values.double(), _rows(group, values)
    stats = group_stats(exact, group, valid, correction=correction)
    counted = stats.count > 1
    floored = counted & (stats.std < min_std) if by_std else torch.zeros_like(counted)
    centred = torch.where(valid & (stats.std[rows] != 0), exact - stats.mean[rows], 0.0)
    value = centred / (stats.std[rows].clamp_min(min_std) + EPS) if by_std else centred
    return Normalised(value.to(values.dtype), stats, counted, floored)


@torch.no_grad()
def grpo_advantage(
    outcome: Tensor, response_mask: Tensor, group: Tensor, *, by_std: bool = True, correction: int = 1
) -> Tensor:
    """GRPO's advantage (arXiv 2402.03300): the outcome normalised within the group, on every token of the loss.

    It is verl's GRPO, except for the three cases that the top of this module names.

    Args:
        outcome: (B,) float32 or float64.
        response_mask: (B, L), 1 on the tokens that the loss acts on; integer, bool or outcome's dtype.
        group: (B,) int64 group numbers.
        by_std, correction: see :func:`group_normalise`.

    Returns:
        (B, L) in outcome's dtype, 0 where the mask is 0.
    """
    live = has_policy_token(response_mask)
    norm = group_normalise(outcome, group, live, by_std=by_std, correction=correction)
    return response_mask.to(outcome.dtype, copy=True).mul_(norm.value.unsqueeze(1))


def has_policy_token(response_mask: Tensor) -> Tensor:
    """(B,) bool: the row has a token that the loss acts on, and so takes part in the statistics of its group.

    Checks windows of growing width: most rows are decided by their first token, and continuations, whose prefix is
    masked, by the next window.
    """
    live = response_mask[:, 0] != 0
    start = 1
    while start < response_mask.shape[1]:
        rest = (~live).nonzero().squeeze(1)
        live[rest] = response_mask[rest, start : 8 * start + 64].any(dim=1)
        start = 8 * start + 64
    return live
