# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Visual credit: an advantage, multiplied by a factor per token and a factor per rollout, both from focus scores.

Four stages:

    signal               one score per response token, if it has one            (VGPO: advantages/focus.py)
    token factor         :func:`token_factor`: a row's scores -> a factor >= 0 per token, and one score per rollout
    trajectory factor    :func:`trajectory_factor`: a group's scores -> a factor >= 0 per rollout
    multiply             :func:`apply_credit`

VGPO (arXiv 2604.09349) defines all four. A method with another signal passes its scores to :func:`visual_factors`; one
with other factors replaces the second or third stage, with the same tensors in and out.

Equations, continuing the numbers of the signal's, which are those of docs/papers.md and not the paper's; t = 1..T over
a row's policy tokens only:

    Eq. 3   w_t   = rho_t (1 + G_t beta t / T)
    Eq. 4   G_t   = 1 iff t > (1 - gamma) T and rho_t is among the top kappa of that tail
    Eq. 5   psi_t = w^_t - mean(w^)            w^: w, min-maxed over the row
    Eq. 6   phi_i = s^_i - mean(s^)            s_i = sum_t w_t;  s^: s, min-maxed over the group
    Eq. 7   A'_it = A_i (1 + psi_it) (1 + phi_i)

A token without a score (before the first image of its row) has psi = 0 and enters no statistic, but counts in t and T.
Rows without a score, and groups whose scores are all equal, get factor 1; rows without a score enter no statistic.

Functions take scores, masks and groups; they know nothing of hidden states, rewards or verl. Numbers per row are
float64.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from verl_mapo.advantages.focus import Position, Prototype
from verl_mapo.advantages.groups import EQUAL
from verl_mapo.names import VISUAL_CREDIT_NODE
from verl_mapo.settings import STRICT

OFFICIAL_GROUP = 8
"""Number of adjacent rows that ``group: official`` treats as a group."""

BOUNDS = {"official": ((0.1, 2.0), (0.9, 2.0)), "symmetric": ((0.1, 1.9), (0.9, 1.1))}
"""Smallest and largest token factor, then trajectory factor, of each ``clamp``."""

_ROUNDING = 1e-9
"""Tolerance for float64 rounding in gamma T and kappa n, which may be whole numbers."""

CHUNK = 2**17
"""Number of tokens processed at a time, so that intermediate tensors stay in a core's cache."""

Share = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, config=STRICT)
class VisualCreditSettings:
    """Settings of visual credit, ``algorithm.visual_credit``; the defaults are VGPO's formulas.

    The source of each choice is in brackets. *paper*: the authors' formulas; *code*: what the released code does
    instead, for comparison; *ours*: our choice.

    Attributes:
        enable: apply the factors to the advantage of any ``algorithm.adv_estimator``; ``vgpo`` does so by itself.
        beta: largest share by which the score of a late token is raised, >= 0 [paper: 0.3].
        gamma: the tail of a row in which scores are raised, as a share of its tokens, in (0, 1] [paper: 0.5].
        kappa: the share of the tail's tokens, those with the highest scores, that is raised, in (0, 1] [paper: 0.2].
            These are exactly ceil(kappa n) of the tail's n scored tokens; of equal scores, the earlier ones [ours].
        intra: the token factor, 1 + psi [paper: both].
        inter: the trajectory factor, 1 + phi [paper: both].
        trajectory_score: s_i. ``sum``: of w, which depends mostly on the row's length [paper]. ``mean``: of w [ours].
            ``official``: sum of w^ [code].
        clamp: ``none`` [paper]. ``official``: token factor in [0.1, 2], trajectory factor in [0.9, 2], whose mean is
            above 1 [code]. ``symmetric``: the same lower bounds, mirrored at 1 [ours].
        sign: ``both``: every advantage is multiplied [paper]. ``positive_only``: those above 0 [ours].
        offset: how a cosine becomes rho. ``half_cosine``: Eq. 2 [paper]. ``official``: min-max of the cosine over all
            rows of the batch, 0 where there is no score, so that a factor depends on the other rows [code].
        prototype: which images a token is compared with, see :func:`verl_mapo.advantages.focus.plan_focus`
            [paper: one image, where all three are the same].
        position: which state is a token's, see :func:`verl_mapo.advantages.focus.plan_focus` [paper: own].
        layer: which states: -1, those the language head reads, after the final norm [paper]; n >= 0, the output of
            decoder layer n [ours].
        group: ``uid``: the rollouts of one prompt [paper]. ``official``: 8 adjacent rows, whatever their prompts
            [code].
    """

    NODE: ClassVar[str] = VISUAL_CREDIT_NODE

    enable: bool = False
    beta: Annotated[float, Field(ge=0)] = 0.3
    gamma: Share = 0.5
    kappa: Share = 0.2
    intra: bool = True
    inter: bool = True
    trajectory_score: Literal["sum", "mean", "official"] = "sum"
    clamp: Literal["none", "official", "symmetric"] = "none"
    sign: Literal["both", "positive_only"] = "both"
    offset: Literal["half_cosine", "official"] = "half_cosine"
    prototype: Prototype = "all_seen"
    position: Position = "own"
    layer: Annotated[int, Field(ge=-1)] = -1
    group: Literal["uid", "official"] = "uid"

    @model_validator(mode="after")
    def _does_something(self) -> VisualCreditSettings:
        if not (self.intra or self.inter):
            raise ValueError("intra=False and inter=False leave every factor 1: set intra or inter to True")
        return self


class TokenFactor(NamedTuple):
    """Result of the second stage, :func:`token_factor`; B rows, L response positions.

    Attributes:
        factor: (B, L) in the score's dtype, 1 where there is no score.
        gate: (B, L) bool, G.
        trajectory_score: (B,) float64, s; 0 where not visual.
        visual: (B,) bool, the row has a score.
    """

    factor: Tensor
    gate: Tensor
    trajectory_score: Tensor
    visual: Tensor


class VisualFactors(NamedTuple):
    """Result of :func:`visual_factors`; B rows, L response positions.

    Attributes:
        token: (B, L) in the score's dtype, 1 + psi; 1 where there is no score.
        trajectory: (B,) in the score's dtype, 1 + phi.
        gate: (B, L) bool, G.
        trajectory_score: (B,) float64, s; 0 where not visual.
        visual: (B,) bool, the row has a score.
    """

    token: Tensor
    trajectory: Tensor
    gate: Tensor
    trajectory_score: Tensor
    visual: Tensor


@torch.no_grad()
def visual_factors(
    score: Tensor,
    valid: Tensor,
    response_mask: Tensor,
    group: Tensor,
    settings: VisualCreditSettings,
    in_statistics: Tensor | None = None,
) -> VisualFactors:
    """The factors of every policy token of a batch. All tensors on one device; rows in any order.

    Args:
        score: (B, L) float32 or float64, rho in [0, 1]; not read where not valid.
        valid: (B, L) bool, the token has a score.
        response_mask: (B, L), 1 on policy tokens; integer, bool or float.
        group: (B,) int64 group numbers, see :func:`verl_mapo.advantages.groups.group_ids`. With those of
            :func:`verl_mapo.advantages.axpo.axpo_groups`, AXPO's continuations of one prefix are a group of their own.
        settings: the settings.
        in_statistics: (B,) bool, the rows that are compared within their group; all when None. Every other row, such as
            a continuation that shares the group of its uid, has its token factors and trajectory factor 1.
    """
    if settings.offset == "official":
        score = _official_offset(score, valid & response_mask.bool())
    if settings.group == "official":
        group = torch.arange(len(score), device=score.device) // OFFICIAL_GROUP
    tokens = token_factor(score, valid, response_mask, settings)
    member = tokens.visual if in_statistics is None else tokens.visual & in_statistics
    trajectory = trajectory_factor(tokens.trajectory_score, member, group, settings)
    return VisualFactors(tokens.factor, trajectory.to(score.dtype), *tokens[1:])


@torch.no_grad()
def apply_credit(advantages: Tensor, factors: VisualFactors, settings: VisualCreditSettings) -> Tensor:
    """Eq. 7: multiply the advantages of any estimator by both factors.

    Args:
        advantages: (B, L) float; not changed.
        factors: the factors of the same rows.
        settings: the settings; only ``sign`` is read.

    Returns:
        (B, L); where the factors are 1, bit for bit the advantages.
    """
    credited = torch.mul(advantages, factors.token).mul_(factors.trajectory.unsqueeze(1))
    return credited if settings.sign == "both" else torch.where(advantages > 0, credited, advantages)


@torch.no_grad()
def token_factor(score: Tensor, valid: Tensor, response_mask: Tensor, settings: VisualCreditSettings) -> TokenFactor:
    """VGPO's second stage, Eq. 3 to 5, and s of Eq. 6; a row's results depend on that row alone.

    Args:
        score: (B, L) float32 or float64, rho in [0, 1]; not read where not valid.
        valid: (B, L) bool, the token has a score.
        response_mask: (B, L), 1 on policy tokens; integer, bool or float.
        settings: the settings.
    """
    shaped = TokenFactor(
        factor=torch.empty_like(score),
        gate=torch.empty_like(valid),
        trajectory_score=torch.empty_like(score[:, 0], dtype=torch.float64),
        visual=torch.empty_like(valid[:, 0]),
    )
    rows = max(1, CHUNK // score.shape[1])
    inputs = (score, valid, response_mask, *shaped)
    for part in zip(*(tensor.split(rows) for tensor in inputs), strict=True):
        _shape_rows(*part[:3], TokenFactor(*part[3:]), settings)
    return shaped


def _shape_rows(score: Tensor, valid: Tensor, mask: Tensor, out: TokenFactor, settings: VisualCreditSettings) -> None:
    """:func:`token_factor` of some rows, written to ``out``. Masks are floats, which multiply fast."""
    policy = mask.bool()
    scored, policy = (at.view(torch.uint8).to(score.dtype) for at in (policy & valid, policy))
    rho, t = score.nan_to_num(0.0).mul_(scored), policy.cumsum(dim=1)
    length = policy.sum(dim=1, keepdim=True)
    gate = _gate(rho, scored, t, length, settings)
    out.gate.copy_(gate)

    # Eq. 3
    weight = gate.mul_(t).mul_(settings.beta / length.clamp_min(1)).mul_(rho).add_(rho)
    # Minimum over the scored tokens: the others are moved to the largest float first.
    lowest = (scored - 1).mul_(-torch.finfo(score.dtype).max).add_(weight).amin(dim=1, keepdim=True)
    count, total = scored.sum(dim=1).double(), weight.sum(dim=1, dtype=torch.float64)
    scale = _over_range(lowest.double(), weight.amax(dim=1, keepdim=True).double())
    # Eq. 5: w^ = (w - lowest) * scale, so its mean follows from the mean of w.
    mean = total / count.clamp_min(1)
    mean_minmaxed = (mean - lowest.squeeze(1)) * scale.squeeze(1)
    out.visual.copy_(count > 0)
    # s of Eq. 6
    out.trajectory_score.copy_(
        {"sum": total, "mean": mean, "official": mean_minmaxed * count}[settings.trajectory_score]
    )
    if not settings.intra:
        out.factor.fill_(1)
        return
    torch.sub(weight, lowest, out=out.factor)
    out.factor.mul_(scale.to(score.dtype)).sub_(mean_minmaxed.to(score.dtype).unsqueeze(1)).mul_(scored).add_(1)
    if settings.clamp != "none":
        out.factor.clamp_(*BOUNDS[settings.clamp][0])


def _gate(rho: Tensor, scored: Tensor, t: Tensor, length: Tensor, settings: VisualCreditSettings) -> Tensor:
    """Eq. 4 as (R, L) floats: 1 on exactly the k highest scores of each row's tail; of equal scores, the earlier ones.

    numpy sorts floats with vector instructions, in a third of the time that torch's topk or kthvalue takes.
    """
    before = torch.floor((1 - settings.gamma) * length.double() + _ROUNDING).to(t.dtype)
    tail = torch.gt(t, before, out=torch.empty_like(t)).mul_(scored)
    k = torch.ceil(settings.kappa * tail.sum(dim=1, keepdim=True).double() - _ROUNDING).long()
    candidates = torch.addcmul(tail - 1, rho, tail)  # rho in the tail, else -1
    ascending = torch.from_numpy(np.sort(candidates.numpy(force=True), axis=1)).to(t.device)
    lowest = ascending.gather(1, (t.shape[1] - k).clamp_max(t.shape[1] - 1))
    gate = torch.ge(candidates, lowest, out=torch.empty_like(t)).mul_(tail)
    crowded = (gate.sum(dim=1) > k.squeeze(1)).nonzero().squeeze(1)
    if len(crowded):
        above = (candidates[crowded] > lowest[crowded]).to(t.dtype)
        equal = gate[crowded] - above
        room = k[crowded] - above.sum(dim=1, keepdim=True)
        gate[crowded] = above + equal * (equal.cumsum(dim=1) <= room)
    return gate


@torch.no_grad()
def trajectory_factor(
    trajectory_score: Tensor, member: Tensor, group: Tensor, settings: VisualCreditSettings
) -> Tensor:
    """VGPO's third stage, Eq. 6: 1 + phi of each member within its group; 1 for every other row.

    Args:
        trajectory_score: (B,) float64, s.
        member: (B,) bool, the row is compared.
        group: (B,) int64 group numbers.
        settings: the settings.

    Returns:
        (B,) float64; 1 throughout a group of fewer than two members.
    """
    factor = torch.ones_like(trajectory_score)
    if not settings.inter or not member.any():
        return factor
    score, group = trajectory_score[member], group[member]
    n_groups = int(group.max()) + 1
    lowest, highest = (
        score.new_zeros(n_groups).scatter_reduce_(0, group, score, how, include_self=False) for how in ("amin", "amax")
    )
    minmaxed = (score - lowest[group]) * _over_range(lowest, highest)[group]
    mean = score.new_zeros(n_groups).scatter_reduce_(0, group, minmaxed, "mean", include_self=False)
    factor[member] = 1 + minmaxed - mean[group]
    return factor if settings.clamp == "none" else factor.clamp_(*BOUNDS[settings.clamp][1])


def _over_range(lowest: Tensor, highest: Tensor) -> Tensor:
    """The factor by which a min-max scales: 1 / (highest - lowest); 0 if they count as EQUAL or there is no score."""
    extent = highest - lowest
    return torch.where(extent > EQUAL * highest, 1 / extent, 0.0)


def _official_offset(score: Tensor, scored: Tensor) -> Tensor:
    """The released code's rho: the cosines of all rows min-maxed together, with 0 on tokens without a score."""
    cosine = torch.where(scored, 2 * score - 1, 0.0)
    lowest, highest = cosine.aminmax()
    return (cosine - lowest) / (highest - lowest).clamp_min(EQUAL)
