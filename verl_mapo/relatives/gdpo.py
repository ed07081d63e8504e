# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""GDPO (arXiv 2601.05242): several terms of a reward, each normalised within its group before they are added up.

Equations, with the numbers of docs/papers.md. The paper and verl's own estimator ``gdpo`` state them; r_k is the k-th
term of a rollout's reward and w_k its weight:

    Eq. 1   A_k,i = groupnorm(r_k)                over the rollouts of one prompt that have the term; the others have 0
    Eq. 2   S_i   = sum_k w_k A_k,i
    Eq. 3   A_i   = S_i / max(std(S), floor)      on every policy token; std over the rollouts of the batch

The paper also subtracts the mean of S over the batch, which is 0 here: each A_k adds up to 0 within each group. (verl
takes mean and spread over tokens, so that long rollouts shift the advantages of all others.)

GRPO normalises the sum of the terms instead, groupnorm(sum_k w_k r_k), ``normalise: sum``: there the term with the
largest spread in a group decides, and different terms with the same sum give the same advantage. MAPO's A_out + beta
A_sem is Eq. 2 with two terms and without Eq. 3, and with a floor for the spread of the alignment.

verl's own ``gdpo`` needs fields that verl's V1 trainers do not fetch, and fails there. So this method takes its name in
runs of those trainers, and nowhere else.

Functions take the terms of each rollout and groups; numbers per row are float64.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from verl_mapo import names
from verl_mapo.advantages.groups import group_normalise, group_stats, has_policy_token
from verl_mapo.advantages.mapo import aggregate
from verl_mapo.charts import BLUE, GREEN, GREY, VERMILION, Curve, Panel
from verl_mapo.lens.estimators import Estimator, Rollouts, shuffled
from verl_mapo.rewards.answers import short
from verl_mapo.rewards.outcome import finite_number
from verl_mapo.rollout.statuses import EndReason, TurnStatus
from verl_mapo.settings import STRICT, ConfigError, select
from verl_mapo.training.mapo import check_alignment
from verl_mapo.training.method import Method

if TYPE_CHECKING:
    from verl_mapo.rollout.trajectory import Trajectory
    from verl_mapo.training.step_batch import StepBatch

OUTCOME, ALIGNMENT = "outcome", "alignment"

OF_VERL = "algorithm.gdpo_reward_keys"
"""Where verl's own ``gdpo`` has its terms."""


def _format(trajectory: Trajectory) -> float:
    calls = [turn for turn in trajectory.turns if turn.called]
    clean = all(turn.status is TurnStatus.OK and not turn.faults for turn in calls)
    return float(clean and trajectory.end_reason is EndReason.ANSWER)


OF_TRAJECTORY = {
    "format": _format,
    ALIGNMENT: lambda trajectory: trajectory.alignment,
    "calls": lambda trajectory: float(trajectory.calls),
}
"""The terms that are read in a trajectory: its number, or None where it has none.

``format``: 1 if the rollout ended with an answer and every call was executed and has its label, else 0. ``alignment``:
mean score of its visual turns, in units of the scorer; None without a scored one. ``calls``: number of calls that the
model tried.
"""

TERMS = (OUTCOME, *OF_TRAJECTORY)
"""The terms that every rollout has; ``outcome`` is its reward."""


@dataclass(frozen=True, config=STRICT)
class GdpoSettings:
    """Settings of :func:`gdpo_advantage`, ``algorithm.gdpo``.

    Attributes:
        reward_terms: w_k by the name of the term: one of :data:`TERMS`, or of the values that the function of
            ``reward.custom_reward_function`` returns beside its score. A negative weight makes less of a term better; 0
            leaves the term out [paper: 1; which terms: ours].
        normalise: ``each``: Eq. 1 and 2 [paper]. ``sum``: GRPO on the weighted sum, which the paper compares with.
        whiten: divide by the spread over the batch, Eq. 3 [paper]. Without it, more terms make larger advantages.
        min_std: smallest divisor of Eq. 3, in units of S, > 0 [ours; the paper adds a small number to the divisor]. Two
            terms that cancel in every group leave rounding errors, and these must not be scaled to unit variance.
    """

    NODE: ClassVar[str] = "algorithm.gdpo"

    reward_terms: dict[str, float] = Field(default_factory=lambda: dict.fromkeys(TERMS[:-1], 1.0) | {TERMS[-1]: 0.0})
    normalise: Literal["each", "sum"] = "each"
    whiten: bool = True
    min_std: Annotated[float, Field(gt=0)] = 0.01

    @field_validator("reward_terms")
    @classmethod
    def _some_weight(cls, terms: dict[str, float]) -> dict[str, float]:
        if not any(terms.values()):
            raise ValueError("it should have a weight other than 0, such as {outcome: 1}")
        return terms

    @property
    def weights(self) -> dict[str, float]:
        """The weights other than 0."""
        return {name: weight for name, weight in self.reward_terms.items() if weight}


class GdpoAdvantage(NamedTuple):
    """Result of :func:`gdpo_advantage`; B rollouts, L response positions, N groups, floats in the mask's or float32.

    Attributes:
        advantages: (B, L) float32, exactly 0 on all other than policy tokens.
        of_term: name of a term to A_k, (B,) float64, before its weight; computed under ``sum``, too.
        spread: name of a term to (N,) bool: the rollouts of the group differ in it.
    """

    advantages: Tensor
    of_term: dict[str, Tensor]
    spread: dict[str, Tensor]


@torch.no_grad()
def gdpo_advantage(
    terms: Mapping[str, Tensor],
    response_mask: Tensor,
    group: Tensor,
    settings: GdpoSettings,
    norm_by_std: bool = True,
) -> GdpoAdvantage:
    """The advantage of every policy token of a batch (Eq. 1 to 3). All tensors on one device; rows in any order.

    With the outcome as the only term and without ``whiten`` it is :func:`~verl_mapo.advantages.groups.grpo_advantage`.
    A rollout without a term takes no part in that term's statistics, so a missing alignment is no 0. Which rows take
    part at all is the rule of :mod:`verl_mapo.advantages.groups`.

    Args:
        terms: (B,) float64 of each term with a weight; NaN where a rollout has none.
        response_mask: (B, L), 1 on the tokens that the loss acts on; integer, bool or float.
        group: (B,) int64 group numbers, see :func:`verl_mapo.advantages.groups.group_ids`.
        settings: the settings.
        norm_by_std: verl's ``norm_adv_by_std_in_grpo``, for every term.
    """
    live = has_policy_token(response_mask)
    has = {name: live & ~terms[name].isnan() for name in settings.weights}
    parts = {name: group_normalise(terms[name], group, has[name], by_std=norm_by_std) for name in settings.weights}
    if settings.normalise == "each":
        rollout = sum(weight * parts[name].value for name, weight in settings.weights.items())
    else:
        centred = {name: terms[name] - parts[name].stats.mean[group] for name in parts}
        total = sum(weight * torch.where(has[name], centred[name], 0.0) for name, weight in settings.weights.items())
        rollout = group_normalise(total, group, live, by_std=norm_by_std).value
    if settings.whiten:
        rollout = rollout / group_stats(rollout, torch.zeros_like(group), live).std.clamp_min(settings.min_std)
    return GdpoAdvantage(
        advantages=response_mask.to(torch.float32, copy=True).mul_(rollout.float().unsqueeze(1)),
        of_term={name: part.value for name, part in parts.items()},
        spread={name: part.stats.std > 0 for name, part in parts.items()},
    )


class Gdpo(Method):
    """The weighted sum of the terms' advantages, see :func:`gdpo_advantage`."""

    name = names.GDPO
    Settings = GdpoSettings
    record_keys = ("reward_terms",)
    reads_turns = True
    settings: GdpoSettings

    def check(self) -> None:
        """Check that the terms exist, and that something scores the alignment where it is one of them."""
        if keys := select(self.config, OF_VERL):
            raise ConfigError(
                f"{OF_VERL}={keys} is read by verl's legacy trainer alone: remove it, and set "
                f"{GdpoSettings.NODE}.reward_terms, for example +{GdpoSettings.NODE}.reward_terms.{keys[0]}=1."
            )
        function = select(self.config, names.CUSTOM_REWARD_FUNCTION)
        for name, weight in self.settings.weights.items():
            if name not in TERMS and function is None:
                close = difflib.get_close_matches(name, TERMS, n=1)
                raise ConfigError(
                    f"{GdpoSettings.NODE}.reward_terms.{name}={weight} names no term of a rollout's reward"
                    f"{f'; did you mean {close[0]}' if close else ''}: the terms are {', '.join(TERMS)}, and what a "
                    f"function of {names.CUSTOM_REWARD_FUNCTION} returns beside its score."
                )
        if ALIGNMENT in self.settings.weights:
            weight = self.settings.weights[ALIGNMENT]
            check_alignment(self.config, f"{GdpoSettings.NODE}.reward_terms.{ALIGNMENT}={weight}")

    def advantages(self, step: StepBatch, rewards: Tensor, response_mask: Tensor) -> Tensor:
        """See :func:`gdpo_advantage`."""
        terms = {name: self.term(step, name) for name in self.settings.weights}
        result = gdpo_advantage(terms, response_mask, step.group, self.settings, self.norm_by_std)
        step.results[self.name] = terms, result
        return result.advantages

    def term(self, step: StepBatch, name: str) -> Tensor:
        """(B,) float64: a term of every row; NaN for a row that has none, that has no outcome, or that is padding.

        Raises:
            ConfigError: no row has a term of this name, and the message has the names that there are; it is no finite
                number; or the reward function returns a term of the same name as one of :data:`TERMS`.
        """
        returned = [extra.get(names.REWARD_TERMS) or {} for extra in step.extra_fields]
        # a reward manager of this package adds the alignment
        if name in TERMS and name != ALIGNMENT and any(name in each for each in returned):
            raise ConfigError(
                f"{GdpoSettings.NODE}.reward_terms.{name} is a term of verl_mapo, and the function of "
                f"{names.CUSTOM_REWARD_FUNCTION} returns another one of that name: let it return my_{name}, and set "
                f"{GdpoSettings.NODE}.reward_terms.{name}=0 and +{GdpoSettings.NODE}.reward_terms.my_{name}=1 if you "
                "mean yours."
            )
        if name == OUTCOME:
            values = step.outcome.double()
        elif name in OF_TRAJECTORY:
            read = OF_TRAJECTORY[name]
            values = _numbers([None if found is None else read(found) for found in step.trajectories], name)
        else:
            if step.judged.any() and not any(name in each for each in returned):
                known = sorted({key for each in returned for key in each} | set(TERMS))
                raise ConfigError(
                    f"{GdpoSettings.NODE}.reward_terms.{name} names no term of any rollout of step {step.number}: "
                    f"they have {', '.join(known)}."
                )
            values = _numbers([each.get(name) for each in returned], name)
        return values.masked_fill(~step.judged, math.nan)

    def metrics(self, step: StepBatch) -> dict[str, float]:
        """``gdpo/<term>/*``: mean, share of the rollouts that have the term, and of the groups that differ in it."""
        terms, result = step.results[self.name]
        groups, metrics = step.group[step.judged].unique(), {}
        for name, values in terms.items():
            known = values[~values.isnan()]
            metrics[f"gdpo/{name}/known_share"] = len(known) / max(int(step.judged.sum()), 1)
            metrics[f"gdpo/{name}/spread_share"] = float(result.spread[name][groups].double().mean())
            metrics |= {f"gdpo/{name}/mean": float(known.mean())} if len(known) else {}
        return metrics

    def records(self, step: StepBatch) -> dict[int, dict[str, Any]]:
        """The key ``reward_terms`` of every row: name of a term to its value, None without one, and its A_k."""
        terms, result = step.results[self.name]
        columns = {
            name: [
                {"value": None if math.isnan(value) else value, "advantage": advantage}
                for value, advantage in zip(values.tolist(), result.of_term[name].tolist(), strict=True)
            ]
            for name, values in terms.items()
        }
        return {row: {"reward_terms": {name: of[row] for name, of in columns.items()}} for row in range(len(step))}

    @classmethod
    def lens_rows(cls) -> list[Estimator]:
        """GDPO of outcome and alignment, and its placebo: the scores exchanged among the rollouts of a question.

        The collection of the lens holds no format, so that this term is left out.
        """
        settings = cls.Settings(reward_terms={OUTCOME: 1.0, ALIGNMENT: 1.0})

        def weights(rollouts: Rollouts, _: torch.Generator | None = None) -> Tensor:
            alignment, known = aggregate(rollouts.turn_scores.double(), rollouts.turn_status, 1.0, "mean")
            terms = {OUTCOME: rollouts.outcome.double(), ALIGNMENT: alignment.masked_fill(~known, math.nan)}
            one = torch.ones(len(rollouts.outcome), 1)
            return gdpo_advantage(terms, one, rollouts.group, settings).advantages[:, 0].double()

        return [
            Estimator(cls.name, weights),
            Estimator(f"{cls.name}, shuffled", shuffled(weights), placebo=cls.name),
        ]

    panels = (
        Panel(
            "Groups whose rollouts differ in a term",
            (
                Curve("outcome", "gdpo/outcome/spread_share", BLUE),
                Curve("format", "gdpo/format/spread_share", GREY),
                Curve("alignment", "gdpo/alignment/spread_share", VERMILION),
                Curve("calls", "gdpo/calls/spread_share", GREEN),
            ),
            "A term in which the rollouts of a question do not differ gives no learning signal there. However small a "
            "difference is, it counts as much as any other: a term that differs by chance alone adds noise.",
            share=True,
        ),
    )


def _numbers(values: list[Any], name: str) -> Tensor:
    """(B,) float64, NaN for None."""
    numbers = [math.nan if value is None else finite_number(value) for value in values]
    if None in numbers:
        raise ConfigError(
            f"{GdpoSettings.NODE}.reward_terms.{name} has the value {short(values[numbers.index(None)])}, which is no "
            f"finite number: let the function of {names.CUSTOM_REWARD_FUNCTION} return a number, or None for a rollout "
            "without the term."
        )
    return torch.tensor(numbers, dtype=torch.float64)
