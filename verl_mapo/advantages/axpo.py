# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The AXPO advantage (arXiv 2605.28774): GRPO, plus credit to a prefix for the best outcome among its continuations.

If every tool-using rollout of a question is wrong, some of them, the *sources*, are cut at their first tool call, and
the rest is rolled out again K times. A batch then has three kinds of rows, told apart by ``role``: *plain*
rollouts, *sources*, and *continuations*, K for each source. The N original rollouts of a question are its plain ones
and sources.

Functions take an outcome per row, groups, and the length of each prefix; they know nothing of verl, of tools, or of how
sources are chosen and rolled out. As in MAPO, numbers per row are float64, and the (B, L) result is not.

Equations, with the numbers of docs/papers.md, which are not the paper's; Eq. 2 is plain GRPO:

    Eq. 2   A_i      = (r_i - mean(r)) / std(r)               plain rollouts; r: the N original rewards of the question
    Eq. 3   A_k^res  = (r_k - mean_K) / std_K                 after the prefix; among the K continuations of one prefix
    Eq. 4   r^prefix = 1[any r_k = 1]
    Eq. 5   A^prefix = (r^prefix - mean(r~)) / std(r~)        the source's prefix; r~: r with the source's own entry
                                                              replaced by r^prefix; used for this source only
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from verl_mapo.advantages.groups import EPS, are_equal, grpo_advantage, has_policy_token
from verl_mapo.columns import CONTINUATION, CORRECT, SOURCE
from verl_mapo.names import AXPO_NODE
from verl_mapo.settings import STRICT


@dataclass(frozen=True, config=STRICT)
class AxpoSettings:
    """Settings of AXPO, ``algorithm.axpo``; the defaults are the paper's where it gives a value.

    The source of each choice is in brackets. *paper*: its text or a row of its ablation; *ours*: our choice.

    Attributes:
        continuations: K, continuations of one prefix, at least 2, since a single one cannot be compared [paper: 4].
        ratio: r, the largest number of continuations of a step per original rollout, > 0: r * B * N for B questions of
            N rollouts [paper: 0.25].
        prefix_rank: the order in which a question's wrong tool-using rollouts become sources. ``confidence``: least
            mean probability of the tool call's tokens first [paper]. ``random`` [paper]. ``entropy`` [paper: not this].
        fix_prefix: continue after the prefix [paper]; False: whole fresh rollouts at the same budget [paper]. In that
            case no row is a source, a continuation is given no tokens, its ``prefix_id`` is the session number of the
            rollout that it replaces, and ``prefix_credit`` and ``unrecovered_source`` have no effect.
        prefix_credit: replace the source's reward in r~ (Eq. 5) [paper]; False: keep it, so that a prefix gets the
            advantage of its own rollout [paper].
        separate_group: the K continuations of a prefix are compared with each other (Eq. 3) [paper]; False: all rows of
            a question are one group [paper].
        unrecovered_source: how to treat a source without a correct continuation. ``mask``: like any source, its prefix
            has Eq. 5 and the rest of it is masked [paper]. ``grpo``: the whole of it is treated as a plain rollout
            [ours].
        allocation: ``breadth_first``: every triggered question gets its first prefix before any gets a second [paper].
            ``streaming``: in the order in which questions finish [ours].
        std: ``sample``: with Bessel's correction, as in verl's GRPO, so that a plain rollout has verl's advantage.
            ``population``: without it [ours: the paper names neither].
        alignment: wherever Eq. 5 does not apply, use MAPO's advantage with ``algorithm.mapo`` instead of GRPO's [ours].
    """

    NODE: ClassVar[str] = AXPO_NODE

    continuations: Annotated[int, Field(ge=2)] = 4
    ratio: Annotated[float, Field(gt=0)] = 0.25
    prefix_rank: Literal["confidence", "random", "entropy"] = "confidence"
    fix_prefix: bool = True
    prefix_credit: bool = True
    separate_group: bool = True
    unrecovered_source: Literal["mask", "grpo"] = "mask"
    allocation: Literal["breadth_first", "streaming"] = "breadth_first"
    std: Literal["sample", "population"] = "sample"
    alignment: bool = False

    @model_validator(mode="after")
    def _combinations(self) -> AxpoSettings:
        if self.alignment and self.std == "population":
            raise ValueError("alignment=True uses MAPO's normalisation, which has the sample form: set std to 'sample'")
        return self

    @property
    def correction(self) -> int:
        """``std`` as the argument ``correction`` of :func:`torch.std`."""
        return 1 if self.std == "sample" else 0

    def slots(self, n_rollouts: int) -> int:
        """Number of prefixes that a step may resample: floor(r * B * N / K), with the decimal value of r.

        Args:
            n_rollouts: B * N, the original rollouts of the step.
        """
        return math.floor(Fraction(repr(self.ratio)) * n_rollouts / self.continuations)


class AxpoAdvantage(NamedTuple):
    """Result of :func:`axpo_advantage`; B rows, L response positions, values per row in outcome's dtype.

    Attributes:
        advantages: (B, L), the tensor ``base``, which was changed in place.
        a_prefix: (B,) Eq. 5, before any weight; 0 on every row without it.
        recovered: (B,) bool, see :func:`recovered_prefixes`.
    """

    advantages: Tensor
    a_prefix: Tensor
    recovered: Tensor


@torch.no_grad()
def axpo_groups(group: Tensor, role: Tensor, prefix_id: Tensor, settings: AxpoSettings) -> Tensor:
    """The groups within which advantages are computed (Eq. 2 and 3), so that any estimator can compute the base.

    Args:
        group: (B,) int64, the number of each row's uid, see :func:`verl_mapo.advantages.groups.group_ids`.
        role: (B,) integer, PLAIN, SOURCE or CONTINUATION.
        prefix_id: (B,) int64, the session number of a SOURCE, or of the source that a CONTINUATION goes on from; -1 for
            PLAIN.
        settings: the settings; only ``separate_group`` is read.

    Returns:
        (B,) int64. The continuations of each prefix get a new number above those of ``group``; every other row keeps
        its number. As in ``group``, every number up to the largest occurs, unless a uid has continuations only.
    """
    if not settings.separate_group:
        return group
    continuation = (role == CONTINUATION).nonzero().squeeze(1)
    groups = group.clone()
    _, number = _prefixes(group, prefix_id)[continuation].unique(return_inverse=True)
    groups[continuation] = group.max() + 1 + number
    return groups


def in_prefix(prefix_length: Tensor, tokens: int) -> Tensor:
    """(B, ``tokens``) bool: whether a token is in the prefix of its row, which begins at the left of the response axis.

    Args:
        prefix_length: (B,) int64.
        tokens: length of the response axis.
    """
    return torch.arange(tokens, device=prefix_length.device) < prefix_length.unsqueeze(1)


@torch.no_grad()
def recovered_prefixes(
    outcome: Tensor, response_mask: Tensor, group: Tensor, role: Tensor, prefix_id: Tensor
) -> Tensor:
    """r^prefix (Eq. 4) of each source: whether any of its continuations is correct.

    Args:
        outcome: (B,) float, R; 1 is correct.
        response_mask: (B, L), 1 on policy tokens. A row without any does not count, whatever its role.
        group: (B,) int64, the number of each row's uid.
        role: (B,) integer, PLAIN, SOURCE or CONTINUATION.
        prefix_id: (B,) int64, as for :func:`axpo_groups`.

    Returns:
        (B,) bool, False on every row that is no source.
    """
    return _recovered(outcome, has_policy_token(response_mask), group, role, prefix_id)


@torch.no_grad()
def loss_masks(
    response_mask: Tensor, recovered: Tensor, role: Tensor, prefix_length: Tensor, settings: AxpoSettings
) -> tuple[Tensor, Tensor]:
    """The tokens that the loss acts on, and the tokens by whose number it is divided.

    The two differ because verl's ``token-mean`` divides by a number of tokens: with only the original rollouts counted,
    a plain token keeps the weight that it has without resampling.

    Args:
        response_mask: (B, L), 1 on policy tokens; not changed.
        recovered: (B,) bool, see :func:`recovered_prefixes`.
        role: (B,) integer, PLAIN, SOURCE or CONTINUATION.
        prefix_length: (B,) int64, the tokens of a SOURCE's prefix, or those that a CONTINUATION was given, counted
            from the left of the response axis.
        settings: the settings; only ``unrecovered_source`` is read.

    Returns:
        Two (B, L) bool tensors. First: ``response_mask`` without the given tokens of a CONTINUATION and without a
        SOURCE's tokens after its prefix. Second: ``response_mask`` without the rows of continuations.
    """
    continuation, cut = role == CONTINUATION, _credited(role, recovered, settings)
    acted_on = response_mask != 0
    divided_by = acted_on.clone()
    divided_by.index_fill_(0, continuation.nonzero().squeeze(1), False)
    touched = (continuation | cut).nonzero().squeeze(1)
    prefix = in_prefix(prefix_length[touched], response_mask.shape[1])
    acted_on[touched] &= prefix == cut[touched].unsqueeze(1)
    return acted_on, divided_by


@torch.no_grad()
def grpo_base(
    outcome: Tensor, response_mask: Tensor, groups: Tensor, settings: AxpoSettings, norm_by_std: bool = True
) -> Tensor:
    """GRPO over the groups of :func:`axpo_groups`: Eq. 2 for the original rollouts, Eq. 3 for the continuations.

    Args:
        outcome: (B,) float32 or float64, R.
        response_mask: (B, L), the first of :func:`loss_masks`; integer, bool or outcome's dtype.
        groups: (B,) int64.
        settings: the settings; only ``std`` is read.
        norm_by_std: verl's ``norm_adv_by_std_in_grpo``.

    Returns:
        (B, L) in outcome's dtype, 0 where the mask is 0.
    """
    return grpo_advantage(outcome, response_mask, groups, by_std=norm_by_std, correction=settings.correction)


@torch.no_grad()
def axpo_advantage(
    outcome: Tensor,
    base: Tensor,
    response_mask: Tensor,
    group: Tensor,
    role: Tensor,
    prefix_length: Tensor,
    prefix_id: Tensor,
    settings: AxpoSettings,
    norm_by_std: bool = True,
    outcome_weight: float = 1.0,
) -> AxpoAdvantage:
    """Replace the advantage on the prefixes of the sources by Eq. 5. All tensors on one device; rows in any order.

    Every other row is unchanged bit for bit. Which rows take part is the rule of :mod:`verl_mapo.advantages.groups`; a
    correct continuation without a token in the loss recovers nothing.

    Args:
        outcome: (B,) float32 or float64, R.
        base: (B, L) advantages over :func:`axpo_groups`, by :func:`grpo_base` or another estimator; written in place.
        response_mask: (B, L), the first of :func:`loss_masks`.
        group: (B,) int64, the number of each row's uid.
        role: (B,) integer, PLAIN, SOURCE or CONTINUATION.
        prefix_length: (B,) int64, as for :func:`loss_masks`.
        prefix_id: (B,) int64, as for :func:`axpo_groups`.
        settings: the settings.
        norm_by_std: verl's ``norm_adv_by_std_in_grpo``.
        outcome_weight: the factor of A_out in ``base``; MAPO's is
            :attr:`verl_mapo.advantages.mapo.MapoSettings.outcome_weight`.
    """
    live, rewards = has_policy_token(response_mask), outcome.double()
    recovered = _recovered(rewards, live, group, role, prefix_id)
    member = live & (role != CONTINUATION) if settings.separate_group else live
    lifted = torch.where(recovered & settings.prefix_credit, rewards.clamp_min(1), rewards)
    value = _against_own_replacement(rewards, lifted, group, member, settings.correction, norm_by_std)
    credited = _credited(role, recovered, settings) & live
    rows = credited.nonzero().squeeze(1)
    prefix = in_prefix(prefix_length[rows], base.shape[1])
    weighted = (outcome_weight * value[rows]).to(base.dtype).unsqueeze(1)
    base[rows] = torch.where(prefix & (response_mask[rows] != 0), weighted, 0.0)
    return AxpoAdvantage(base, torch.where(credited, value, 0.0).to(outcome.dtype), recovered)


def _against_own_replacement(
    rewards: Tensor, lifted: Tensor, group: Tensor, member: Tensor, correction: int, norm_by_std: bool
) -> Tensor:
    """(B,) each row's ``lifted`` reward, normalised over its group's rewards with only the row's own reward replaced.

    The sums of a group with one entry replaced are the group's sums minus the old entry plus the new one.
    """

    def sums(values: Tensor) -> Tensor:
        """The sum over each row's group."""
        members = torch.where(member, values, 0.0)
        return members.new_zeros(int(group.max()) + 1).index_add_(0, group, members)[group]

    count = sums(torch.ones_like(rewards)).clamp_min(1)
    first = sums(rewards) - rewards + lifted
    second = sums(rewards.square()) - rewards.square() + lifted.square()
    mean = first / count
    std = ((second - first * mean).clamp_min(0) / (count - correction).clamp_min(1)).sqrt()
    centred = torch.where(are_equal(mean, std), 0.0, lifted - mean)
    return centred / (std + EPS) if norm_by_std else centred


def _credited(role: Tensor, recovered: Tensor, settings: AxpoSettings) -> Tensor:
    """(B,) bool: sources whose prefix gets Eq. 5 and whose remaining tokens are masked."""
    source = role == SOURCE
    return source if settings.unrecovered_source == "mask" else source & recovered


def _recovered(outcome: Tensor, live: Tensor, group: Tensor, role: Tensor, prefix_id: Tensor) -> Tensor:
    prefixes = _prefixes(group, prefix_id)
    right = live & (role == CONTINUATION) & (outcome >= CORRECT)
    return live & (role == SOURCE) & torch.isin(prefixes, prefixes[right])


def _prefixes(group: Tensor, prefix_id: Tensor) -> Tensor:
    """(B,) int64: one number for each pair of uid and prefix_id; -1 is a prefix_id like any other."""
    return group * (prefix_id.max() + 2) + prefix_id
