# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Group-relative arithmetic that all estimators share: group numbers, group statistics, and normalisation.

A *group* is the rollouts of one prompt (verl's ``uid``). Functions take one value per row and the number of the row's
group; they know nothing of tokens, rewards or verl. Nothing loops over rows or groups: each function is one or two
scatter-adds on the device of its input.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

EPS = 1e-6
"""Added to every standard deviation before dividing, as verl's GRPO does (its ``epsilon``)."""


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
        std: their standard deviation; 0 for fewer than two.
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
    return GroupStats(count.long(), mean, (squares / (count - correction).clamp_min(1)).sqrt())


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
    keep_lone: bool = False,
    correction: int = 1,
) -> Normalised:
    """Centre each value on its group and divide by the group's spread: (x - mean) / (max(std, min_std) + EPS).

    The floor ``min_std`` keeps small differences small: without it, a group whose members barely differ would be scaled
    to unit standard deviation, noise included.

    Args:
        values: (N,) or (N, T) float, as for :func:`group_stats`.
        group: (N,) int64 group numbers.
        valid: bool of the shape of ``values``, the members that take part; the others get exactly 0. All when None.
        by_std: divide by the standard deviation (GRPO) or only centre (Dr.GRPO); verl's ``norm_adv_by_std_in_grpo``.
            Without the division the floor does not apply.
        min_std: smallest divisor, in the unit of ``values``; 0 for none, which is verl's GRPO.
        keep_lone: how to treat the only valid member of a group, which cannot be compared. False: it gets 0. True: it
            keeps its value, divided by 1 + EPS, which is verl's convention (mean 0, std 1).
        correction: as in :func:`torch.std`: 1 for the sample form of the standard deviation, which is verl's, 0 for the
            population form.
    """
    valid = torch.ones_like(values, dtype=torch.bool) if valid is None else valid
    stats, rows = group_stats(values, group, valid, correction=correction), _rows(group, values)
    counted = stats.count > 1
    floored = counted & (stats.std < min_std) if by_std else torch.zeros_like(counted)
    mean, std = stats.mean, stats.std.clamp_min(min_std)
    if keep_lone:
        mean, std = torch.where(counted, mean, 0.0), torch.where(counted, std, 1.0)
    centred = torch.where(valid, values - mean[rows], 0.0)
    return Normalised(centred / (std[rows] + EPS) if by_std else centred, stats, counted, floored)


def has_policy_token(response_mask: Tensor) -> Tensor:
    """(B,) bool: the row has a policy token.

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
