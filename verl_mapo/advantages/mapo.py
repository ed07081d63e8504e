# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The MAPO advantage (arXiv 2604.06777): the outcome, plus how well each label fits the region that was shown.

    A_i = A_out,i + beta * A_sem,i     A_out = groupnorm(R)     A_sem = groupnorm(S)     over the rollouts of one prompt

Functions take an outcome per rollout, a score per visual turn and the positions of the tokens; they know nothing of
verl, scorers or images. Numbers per row are float64; only the (B, L) result has the caller's dtype.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from verl_mapo.advantages.groups import Normalised, group_normalise, group_stats, has_policy_token
from verl_mapo.columns import ABSENT, CORRECT, SCORED
from verl_mapo.names import MAPO_NODE
from verl_mapo.settings import STRICT

Aggregation = Literal["discounted_mean", "mean", "sum", "length_discounted", "late"]
Coupling = Literal["advantage_sum", "convex", "reward_sum", "gated"]
NoTool = Literal["neutral", "zero", "group_mean"]


@dataclass(frozen=True, config=STRICT)
class MapoSettings:
    """Settings of :func:`mapo_advantage`; the defaults are MAPO as readers of the paper describe it.

    The source of each choice is in brackets. *paper*: the abstract; *reader*: people who read the text; *ours*: our
    choice.

    Attributes:
        beta: weight of A_sem relative to A_out, >= 0, without unit. With ``norm_adv_by_std_in_grpo=False`` its unit is
            outcome per cosine, and 0.4 has little effect, because cosines lie in a narrow band [reader: 0.4].
        discount: lambda, the weight a turn keeps relative to the turn before it, in (0, 1] [reader: 0.95].
        aggregation: how a rollout's scores s_t, t = 1..T, become one number S [reader: trajectory level, discounted;
            the exact form is ours]. ``discounted_mean``: sum(lambda^(t-1) s_t) / sum(lambda^(t-1)). ``mean``.
            ``sum``: every further visual turn adds to S. ``length_discounted``: lambda^(T-1) * mean, so every further
            visual turn lowers S. ``late``: as discounted_mean with lambda^(T-t), so the last turn weighs most.
        coupling: ``advantage_sum``: A_out + beta A_sem [reader]. Ours: ``convex``: (1 - beta) A_out + beta A_sem;
            ``reward_sum``: groupnorm(R + beta S); ``gated``: advantage_sum with A_sem over the correct rollouts only
            (R = 1) and 0 for the others.
        no_tool: how to treat a rollout without a visual turn in a group that has some [ours]. ``neutral``: A_sem = 0,
            not in the statistics. ``zero``: takes part with S = 0, as the worst score would. ``group_mean``: takes part
            with the mean S of the group's scored rollouts, so A_sem = 0 too, but the group's spread shrinks and its
            scored rollouts stand out more. Under reward_sum, neutral and group_mean are the same.
        credit: where A_sem acts. ``trajectory``: on every policy token of the rollout [reader]. ``turn``: each turn's
            own score on its own tokens, see :func:`_turn_semantics` [ours]; ``aggregation`` then shapes only the
            alignment that is reported.
        min_std: floor of the spread of S in a group, in units of the score (a cosine), > 0 [ours]. CLIP's cosines
            lie between about 0.15 and 0.35 for any pair. A spread below a twentieth of that band counts as noise of the
            scorer, and dividing by it would scale that noise to unit variance. A scorer with another band needs another
            floor.
        max_unscored: largest share of the visual turns of a step that the scorer may fail on before the trainer stops
            the run, in [0, 1] [ours].
    """

    NODE: ClassVar[str] = MAPO_NODE

    beta: Annotated[float, Field(ge=0)] = 0.4
    discount: Annotated[float, Field(gt=0, le=1)] = 0.95
    aggregation: Aggregation = "discounted_mean"
    coupling: Coupling = "advantage_sum"
    no_tool: NoTool = "neutral"
    credit: Literal["trajectory", "turn"] = "trajectory"
    min_std: Annotated[float, Field(gt=0)] = 0.01
    max_unscored: Annotated[float, Field(ge=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _combinations(self) -> MapoSettings:
        if self.coupling == "convex" and self.beta > 1:
            raise ValueError(
                f"coupling='convex' weighs the outcome with 1 - beta, so beta={self.beta} must be at most 1"
            )
        if self.credit == "turn" and self.coupling == "reward_sum":
            raise ValueError(
                "coupling='reward_sum' has one reward per rollout and none per turn; with credit='turn' set it to "
                "'advantage_sum', 'convex' or 'gated'"
            )
        if self.credit == "turn" and self.no_tool != "neutral":
            raise ValueError(
                f"no_tool={self.no_tool!r} has no turn to act on: with credit='turn' set no_tool to 'neutral'"
            )
        return self

    @property
    def outcome_weight(self) -> float:
        """Weight of A_out in the advantage: 1 - beta under ``convex``, else 1."""
        return 1 - self.beta if self.coupling == "convex" else 1.0


class MapoAdvantage(NamedTuple):
    """Result of :func:`mapo_advantage`; B rollouts, L response positions, N groups, floats in outcome's dtype.

    Attributes:
        advantages: (B, L), exactly 0 on all other than policy tokens.
        a_out: (B,) groupnorm(R).
        a_sem: (B,) groupnorm(S), before any weight; under ``credit: turn`` the mean over the rollout's scored turns.
            Under ``reward_sum`` both are for the report only: the advantage is the norm of the sum.
        alignment: (B,) S; 0 where there is none.
        has_alignment: (B,) bool, the rollout has a scored turn.
        outcome_counted: (N,) bool, the group has two rollouts to compare.
        outcome_flat: (N,) bool, the group is outcome_counted and all its outcomes are equal: only A_sem has a gradient.
        semantic_counted: (N,) bool, the group has two S (under ``credit: turn`` two scored turns) to compare.
        semantic_floored: (N,) bool, the group is semantic_counted and its standard deviation was below ``min_std``.
    """

    advantages: Tensor
    a_out: Tensor
    a_sem: Tensor
    alignment: Tensor
    has_alignment: Tensor
    outcome_counted: Tensor
    outcome_flat: Tensor
    semantic_counted: Tensor
    semantic_floored: Tensor


@torch.no_grad()
def aggregate(turn_scores: Tensor, turn_status: Tensor, discount: float, how: Aggregation) -> tuple[Tensor, Tensor]:
    """One alignment S per rollout from the scores of its turns; the formulas are at :class:`MapoSettings`.

    An unscored turn has weight 0 but is counted: the turns after it keep their t, and the rollout keeps its T.

    Args:
        turn_scores: (B, T) float, s_t in turn order from the left; never read where the status is not SCORED.
        turn_status: (B, T) integer: ABSENT, SCORED or UNSCORED.
        discount: lambda in (0, 1].
        how: name of the aggregation.

    Returns:
        S (B,), in the dtype of the scores, 0 where nothing is scored; and (B,) bool, whether anything is.
    """
    scored = turn_status == SCORED
    t = torch.arange(1, turn_scores.shape[1] + 1).to(turn_scores)
    n_turns = (turn_status != ABSENT).sum(dim=1, dtype=t.dtype)
    weight = torch.ones_like(t)
    if how == "discounted_mean":
        weight = discount ** (t - 1)
    elif how == "late":
        weight = discount ** (n_turns.unsqueeze(1) - t)
    weight = torch.where(scored, weight, 0.0)
    alignment, mass = (weight * torch.where(scored, turn_scores, 0.0)).sum(dim=1), weight.sum(dim=1)
    has_score = mass > 0
    if how != "sum":
        alignment /= torch.where(has_score, mass, 1.0)
    if how == "length_discounted":
        alignment *= discount ** (n_turns - 1)
    return alignment, has_score


@torch.no_grad()
def mapo_advantage(
    outcome: Tensor,
    turn_scores: Tensor,
    turn_status: Tensor,
    turn_spans: Tensor,
    response_mask: Tensor,
    group: Tensor,
    settings: MapoSettings,
    norm_by_std: bool = True,
) -> MapoAdvantage:
    """The advantage of every policy token of a batch. All tensors on one device; rows in any order.

    With ``beta = 0`` this is :func:`~verl_mapo.advantages.groups.grpo_advantage`. A rollout whose visual turns are all
    unscored takes no part in the semantic statistics and has A_sem = 0, whatever ``no_tool`` says: unscored is not
    zero. Which rows take part at all is the rule of :mod:`verl_mapo.advantages.groups`.

    Args:
        outcome: (B,) float32 or float64, R.
        turn_scores: (B, T) float, s_t, left-aligned.
        turn_status: (B, T) integer, ABSENT, SCORED or UNSCORED.
        turn_spans: (B, T, 2) int64, half-open positions of each turn's policy tokens on the response axis, in order
            and disjoint; (-1, -1) where absent. Read under ``credit: turn`` only.
        response_mask: (B, L), 1 on the tokens that the loss acts on; integer, bool or outcome's dtype.
        group: (B,) int64 group numbers, see :func:`verl_mapo.advantages.groups.group_ids`.
        settings: the settings.
        norm_by_std: verl's ``norm_adv_by_std_in_grpo``, for both parts.
    """
    dtype = outcome.dtype
    outcome, turn_scores = outcome.double(), turn_scores.double()
    live = has_policy_token(response_mask)
    eligible = live & (outcome >= CORRECT) if settings.coupling == "gated" else live
    out = group_normalise(outcome, group, live, by_std=norm_by_std)
    alignment, has_alignment = aggregate(turn_scores, turn_status, settings.discount, settings.aggregation)
    alignment, has_alignment = torch.where(live, alignment, 0.0), has_alignment & live

    base = settings.outcome_weight * out.value
    if settings.credit == "turn":
        sem, a_sem = _turn_semantics(turn_scores, turn_status, eligible, group, settings, norm_by_std)
        at_turns = base.unsqueeze(1) + settings.beta * sem.value
        advantages = _spread(base.to(dtype), at_turns.to(dtype), turn_spans, response_mask.shape[1])
        advantages.masked_fill_(response_mask == 0, 0.0)
    else:
        value, valid = _participants(alignment, has_alignment, turn_status, eligible, group, settings.no_tool)
        sem = group_normalise(value, group, valid, by_std=norm_by_std, min_std=settings.min_std)
        a_sem, rollout = sem.value, base + settings.beta * sem.value
        if settings.coupling == "reward_sum":
            lift = torch.where(valid, value - sem.stats.mean[group], 0.0)
            total = _norm_of_sum(outcome, lift, live, group, settings, norm_by_std)
            sem, rollout = sem._replace(floored=total.floored & sem.counted), total.value
        advantages = response_mask.to(dtype, copy=True).mul_(rollout.to(dtype).unsqueeze(1))
    return MapoAdvantage(
        advantages=advantages,
        a_out=out.value.to(dtype),
        a_sem=a_sem.to(dtype),
        alignment=alignment.to(dtype),
        has_alignment=has_alignment,
        outcome_counted=out.counted,
        outcome_flat=out.counted & (out.stats.std == 0),
        semantic_counted=sem.counted,
        semantic_floored=sem.floored,
    )


def _participants(
    alignment: Tensor, has_alignment: Tensor, turn_status: Tensor, eligible: Tensor, group: Tensor, no_tool: NoTool
) -> tuple[Tensor, Tensor]:
    """S of each rollout, (B,), and whether the rollout enters the semantic statistics, (B,) bool.

    Rollouts with a score enter. Rollouts without a visual turn enter as ``no_tool`` says, if their group has a rollout
    with a score. Rollouts whose visual turns are all unscored do not enter.
    """
    scored = has_alignment & eligible
    if no_tool == "neutral":
        return alignment, scored
    stats = group_stats(alignment, group, scored)
    idle = ~turn_status.any(dim=1) & eligible & (stats.count[group] > 0)
    value = torch.where(idle, stats.mean[group], alignment) if no_tool == "group_mean" else alignment
    return value, scored | idle


def _norm_of_sum(
    outcome: Tensor, lift: Tensor, live: Tensor, group: Tensor, settings: MapoSettings, norm_by_std: bool
) -> Normalised:
    """groupnorm(R + beta S). S is given as ``lift``, (B,): its difference from the group's mean, with the same result.

    A rollout without an S has lift 0, which is the mean. ``min_std`` is in units of S, and S enters the sum times beta,
    so the floor is beta * min_std: it applies where outcomes are equal and S nearly so, and vanishes with beta.
    """
    floor = settings.beta * settings.min_std
    return group_normalise(outcome + settings.beta * lift, group, live, by_std=norm_by_std, min_std=floor)


def _turn_semantics(
    turn_scores: Tensor, turn_status: Tensor, eligible: Tensor, group: Tensor, settings: MapoSettings, norm_by_std: bool
) -> tuple[Normalised, Tensor]:
    """Each scored turn against all scored turns of its group: z_it = (s_it - m_g) / sigma_g, one m and sigma a group.

    This is the score-function estimate of the gradient of E[sum_t (s_t - c)] with c held at the group's mean score m_g,
    restricted to each turn's own term. One more visual turn adds E[s] - c to the objective. This is 0 if it scores like
    the group's other turns, so neither another turn nor stopping is rewarded. Three properties are needed for this:

    - One baseline for all t. A baseline b_t per turn index, summed over the rollout, has as many terms as the policy
      chose to take turns (verl issue 7244): reaching an index where all scores are low costs nothing, and an index that
      only one rollout reaches has nothing to be compared with; GRPO's convention leaves it its raw, positive score.
    - No division by the rollout's number of turns, because the policy chooses that number.
    - The z of a group sum to 0 exactly, so a probability of another turn that is the same at every turn has gradient 0
      in every sample. (A loss that averages within a sequence first, ``seq-mean-token-mean``, brings a length weight
      back.)

    The remaining bias: m_g contains s_it itself, which shrinks z by 1 - 1/n with an n that the policy influences; a
    rollout of many turns weighs more in m_g; where later turns score lower in every rollout, further turns are
    discouraged and A_out must outweigh that; a turn gets no credit for the later turns that it made possible.

    Returns:
        The normalisation, whose value (B, T) is 0 at turns without a score; and the mean of that value over the
        rollout's scored turns, (B,).
    """
    scored = (turn_status == SCORED) & eligible.unsqueeze(1)
    sem = group_normalise(turn_scores, group, scored, by_std=norm_by_std, min_std=settings.min_std)
    return sem, sem.value.sum(dim=1) / scored.sum(dim=1).clamp_min(1)


def _spread(base: Tensor, at_turns: Tensor, turn_spans: Tensor, length: int) -> Tensor:
    """(B, length): ``at_turns`` (B, T) on each turn's span, ``base`` (B,) everywhere else.

    Each row is the cumulative sum of its base and of the jumps at the start and the end of each span; an absent turn is
    an empty span, whose two jumps cancel.
    """
    cuts = turn_spans.clamp(0, length).flatten(1)
    levels = base.unsqueeze(1).repeat(1, cuts.shape[1] + 1)
    levels[:, 1::2] = at_turns
    jumps = torch.where(cuts < length, levels.diff(dim=1), 0.0)
    rows = base.new_zeros(len(base), length)
    rows[:, 0] = base
    return rows.scatter_add_(1, cuts.clamp_max(length - 1), jumps).cumsum_(1)
