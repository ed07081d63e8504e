# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""DTPO, the method of AdaptVision (arXiv 2512.03794): an advantage of the first turn, and weights of turns.

Equations, with the numbers of docs/papers.md. The authors' code states them with a judge where Eq. 2 has a score; R is
the outcome, s the score and a the area of the crop of the first turn:

    Eq. 1   R'_i   = (1 - c_tool) R_i     if i called a tool
                     R_i - c_direct       if i is right without a call, as less than q of the right rollouts are
                     R_i                  otherwise
    Eq. 2   r_i    = b_1 1[s_i >= g] - b_2 clip(a_i / mean(a) - 1, 0, 1)     mean over the crops of right rollouts
    Eq. 3   A_it   = A_out,i + w A_turn,i    in the first turn, A_out,i in later ones
                     A_out = groupnorm(R');  A_turn = groupnorm(r) over the rollouts whose first turn is a visual turn
    Eq. 4   L      = v mean(l_t of all turns but the last) + mean(l_t of the last turns)       l_t: the loss of a token

Eq. 4 is reached by a factor on the advantage: the clipped loss of a token is proportional to its advantage, and verl's
``token-mean`` is a sum over tokens divided by their number N. With N_1 tokens before the last turns and N_2 in them,
the factors are v N / N_1 and N / N_2. The numbers are those of the batch; terms of verl's loss that have no advantage
(KL, entropy) stay means over all tokens.

Functions take numbers per rollout, positions of turns and groups; numbers per row are float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from verl_mapo import names
from verl_mapo.advantages.groups import group_normalise, group_stats, has_policy_token
from verl_mapo.charts import BLUE, GREEN, VERMILION, Curve, Panel
from verl_mapo.columns import CORRECT
from verl_mapo.settings import STRICT, ConfigError, select
from verl_mapo.training.mapo import check_alignment
from verl_mapo.training.method import Method

if TYPE_CHECKING:
    from verl_mapo.rollout.trajectory import Trajectory
    from verl_mapo.training.step_batch import StepBatch

LOSS_AGGREGATION = "actor_rollout_ref.actor.loss_agg_mode"

Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=STRICT)
class DtpoSettings:
    """Settings of :func:`dtpo_advantage`, ``algorithm.dtpo``.

    Attributes:
        tool_cost: c_tool, share of its outcome that a rollout with calls loses, in [0, 1] [paper: 0.1].
        direct_cost: c_direct, what a right rollout without a call loses while such rollouts are rare, in units of the
            outcome: it may have guessed [paper: 0.1].
        direct_share: q, share of the right rollouts of a group below which those without a call are rare, in [0, 1]
            [paper: 0.2].
        grounding: b_1, reward of a first turn whose crop shows what was asked for, >= 0 [paper: 0.1].
        grounded_from: g, the score from which a crop shows it, in units of the scorer [ours: 0.25, for CLIP's cosines;
            the paper asks a judge].
        area: b_2, cost of a first crop that is twice as large as those of right rollouts, >= 0 [paper: 0.2].
        weight: w, weight of A_turn relative to A_out, >= 0 [paper: 0.3].
        by_turn: weigh tokens by Eq. 4 [paper]; False: verl's own loss [ours].
        earlier_weight: v, weight of all turns but the last, > 0 [paper: 0.5].
    """

    NODE: ClassVar[str] = "algorithm.dtpo"

    tool_cost: Share = 0.1
    direct_cost: Weight = 0.1
    direct_share: Share = 0.2
    grounding: Weight = 0.1
    grounded_from: float = 0.25
    area: Weight = 0.2
    weight: Weight = 0.3
    by_turn: bool = True
    earlier_weight: Annotated[float, Field(gt=0)] = 0.5


class FirstTurns(NamedTuple):
    """The first turn of each of B rollouts, and where its last one begins.

    Attributes:
        score: (B,) float64, s; NaN where the first turn is no visual turn, or the scorer failed on it.
        area: (B,) float64, a, the share of the original in [0, 1] that the crop covers; NaN without a crop.
        stop: (B,) int64, position on the response axis after the first turn's last token.
        last: (B,) int64, position of the last turn's first token; 0 if the first turn is the last one.
    """

    score: Tensor
    area: Tensor
    stop: Tensor
    last: Tensor

    @classmethod
    def of(cls, trajectories: list[Trajectory | None]) -> FirstTurns:
        """The first turns of some trajectories; a row without one has neither score, area nor turns."""
        rows = [_first_turn(found) for found in trajectories]
        score, area, stop, last = (list(values) for values in zip(*rows, strict=True))
        numbers = (torch.tensor(values, dtype=torch.float64) for values in (score, area))
        return cls(*numbers, torch.tensor(stop), torch.tensor(last))


class DtpoAdvantage(NamedTuple):
    """Result of :func:`dtpo_advantage`; B rollouts, L response positions, floats in outcome's dtype.

    Attributes:
        advantages: (B, L), with the factors of Eq. 4; exactly 0 on all other than policy tokens.
        a_out: (B,) A_out.
        a_turn: (B,) A_turn, before its weight; 0 where the first turn is no visual turn with a score.
        reward: (B,) R'.
        judged: (B,) bool, the first turn is a visual turn with a score.
        grounded: (B,) bool, its score is at least g.
    """

    advantages: Tensor
    a_out: Tensor
    a_turn: Tensor
    reward: Tensor
    judged: Tensor
    grounded: Tensor


@torch.no_grad()
def dtpo_advantage(
    outcome: Tensor,
    calls: Tensor,
    turns: FirstTurns,
    response_mask: Tensor,
    group: Tensor,
    settings: DtpoSettings,
    norm_by_std: bool = True,
) -> DtpoAdvantage:
    """The advantage of every policy token of a batch (Eq. 1 to 4). All tensors on one device; rows in any order.

    Which rows take part is the rule of :mod:`verl_mapo.advantages.groups`.

    Args:
        outcome: (B,) float32 or float64, R; 1 is right.
        calls: (B,) integer, number of calls.
        turns: the first turns.
        response_mask: (B, L), 1 on the tokens that the loss acts on; integer, bool or outcome's dtype.
        group: (B,) int64 group numbers, see :func:`verl_mapo.advantages.groups.group_ids`.
        settings: the settings.
        norm_by_std: verl's ``norm_adv_by_std_in_grpo``, for both parts.
    """
    dtype, live = outcome.dtype, has_policy_token(response_mask)
    right = live & (outcome >= CORRECT)
    reward = outcome_reward(outcome.double(), calls, right, group, settings)
    out = group_normalise(reward, group, live, by_std=norm_by_std)
    judged = live & ~turns.score.isnan()
    turn = group_normalise(turn_reward(turns, right, group, settings), group, judged, by_std=norm_by_std)

    position = torch.arange(response_mask.shape[1], device=outcome.device)
    first = position < turns.stop.unsqueeze(1)
    value = out.value.to(dtype).unsqueeze(1) + first * (settings.weight * turn.value).to(dtype).unsqueeze(1)
    value.mul_(response_mask.to(dtype))
    if settings.by_turn:
        earlier = position < turns.last.unsqueeze(1)
        value.mul_(torch.where(earlier, *turn_factors(earlier, response_mask, settings.earlier_weight)))
    grounded = judged & (turns.score >= settings.grounded_from)
    return DtpoAdvantage(value, out.value.to(dtype), turn.value.to(dtype), reward.to(dtype), judged, grounded)


def outcome_reward(outcome: Tensor, calls: Tensor, right: Tensor, group: Tensor, settings: DtpoSettings) -> Tensor:
    """R' (Eq. 1), (B,) in outcome's dtype.

    Args:
        outcome: (B,) float, R.
        calls: (B,) integer.
        right: (B,) bool, the rollout is right and takes part.
        group: (B,) int64.
        settings: the settings.
    """
    called = calls > 0
    direct = group_stats((~called).to(outcome.dtype), group, right).mean[group]
    rare = right & ~called & (direct < settings.direct_share)
    return torch.where(called, (1 - settings.tool_cost) * outcome, outcome) - settings.direct_cost * rare.to(
        outcome.dtype
    )


def turn_reward(turns: FirstTurns, right: Tensor, group: Tensor, settings: DtpoSettings) -> Tensor:
    """r (Eq. 2), (B,) float64; without a crop, or without a crop of a right rollout in the group, no area term.

    Args:
        turns: the first turns.
        right: (B,) bool, the rollout is right and takes part.
        group: (B,) int64.
        settings: the settings.
    """
    cropped = ~turns.area.isnan()
    usual = group_stats(turns.area, group, right & cropped).mean[group]
    excess = torch.where(cropped & (usual > 0), turns.area / usual - 1, 0.0).clamp(0, 1)
    return settings.grounding * (turns.score >= settings.grounded_from).double() - settings.area * excess


def turn_factors(earlier: Tensor, response_mask: Tensor, weight: float) -> tuple[float, float]:
    """The factors of Eq. 4, of the tokens before the last turn and of those in it.

    Args:
        earlier: (B, L) bool, the position is before the row's last turn.
        response_mask: (B, L), 1 on the tokens that the loss acts on.
        weight: v.
    """
    in_loss = response_mask != 0
    every = int(in_loss.sum())
    before = int((in_loss & earlier).sum())
    return weight * every / max(before, 1), every / max(every - before, 1)


def _first_turn(trajectory: Trajectory | None) -> tuple[float, float, int, int]:
    """Score, area, the end of the first turn and the start of the last one; see :class:`FirstTurns`."""
    nan = float("nan")
    if trajectory is None or not trajectory.turns:
        return nan, nan, 0, 0
    turns = trajectory.assistant_turns
    first, last = turns[0], turns[-1] if len(turns) > 1 else None
    looked = first[0].described and first[0].score is not None
    area = trajectory.crop_area(first[0]) if looked else None
    return (
        first[0].score if looked else nan,
        nan if area is None else area,
        first[-1].span[1],
        last[0].span[0] if last else 0,
    )


class Dtpo(Method):
    """GRPO with a reward and an advantage for the first turn, see :func:`dtpo_advantage`."""

    name = names.DTPO
    Settings = DtpoSettings
    record_keys = ("a_out", "a_turn", "adapted_reward")
    reads_turns = True
    settings: DtpoSettings

    def check(self) -> None:
        """Check that crops are scored, where Eq. 2 has a weight, and that the loss is a mean over tokens (Eq. 4)."""
        if self.settings.weight:
            check_alignment(self.config, f"{DtpoSettings.NODE}.weight={self.settings.weight}")
        if self.settings.by_turn and (mode := select(self.config, LOSS_AGGREGATION)) != "token-mean":
            raise ConfigError(
                f"{LOSS_AGGREGATION}={mode} averages over rollouts, so that {DtpoSettings.NODE}.by_turn=true cannot "
                f"weigh turns: set {LOSS_AGGREGATION}=token-mean, or {DtpoSettings.NODE}.by_turn=false."
            )

    def advantages(self, step: StepBatch, rewards: Tensor, response_mask: Tensor) -> Tensor:
        """See :func:`dtpo_advantage`."""
        turns = FirstTurns.of(step.trajectories)
        result = dtpo_advantage(
            step.outcome, step.calls, turns, response_mask, step.group, self.settings, self.norm_by_std
        )
        step.results[self.name] = result
        return result.advantages

    def metrics(self, step: StepBatch) -> dict[str, float]:
        """``dtpo/*``: the rewards, the spread of both advantages, and the share of first turns that are grounded."""
        result: DtpoAdvantage = step.results[self.name]
        counted = step.not_padding & step.judged
        judged = counted & result.judged
        metrics = {
            "reward/mean": result.reward[counted].double().mean(),
            "a_out/std": result.a_out[counted].std(correction=0),
            "a_turn/std": result.a_turn[counted].std(correction=0),
            "called_share": (step.calls[counted] > 0).double().mean(),
            **({"grounded_share": result.grounded[judged].double().mean()} if judged.any() else {}),
        }
        return {f"dtpo/{name}": float(value) for name, value in metrics.items()}

    def records(self, step: StepBatch) -> dict[int, dict[str, Any]]:
        """A_out, A_turn and R' of every row."""
        result: DtpoAdvantage = step.results[self.name]
        columns = zip(result.a_out.tolist(), result.a_turn.tolist(), result.reward.tolist(), strict=True)
        return {row: dict(zip(self.record_keys, values, strict=True)) for row, values in enumerate(columns)}

    panels = (
        Panel(
            "First turns",
            (
                Curve("rollouts with calls", "dtpo/called_share", BLUE),
                Curve("grounded, of the first visual turns", "dtpo/grounded_share", VERMILION),
            ),
            "If nearly all or none of the first turns are grounded, their advantage says nothing: choose another "
            "algorithm.dtpo.grounded_from.",
            share=True,
        ),
        Panel(
            "Spread of the advantages",
            (Curve("outcome, A_out", "dtpo/a_out/std", BLUE), Curve("first turn, A_turn", "dtpo/a_turn/std", GREEN)),
            "Standard deviation over the batch. Near zero, that part of the advantage gives no learning signal.",
        ),
    )
