# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""NAAR, the reward of Beacon (arXiv 2607.28595): a call earns less where the question can be answered without one.

Equations, with the numbers of docs/papers.md; a reader states Eq. 1. R is the outcome; a rollout without any call is
text-only:

    Eq. 1   R'_i = c R_i   if i is right and called a tool, and a text-only rollout of its prompt is right
                   R_i     otherwise
    Eq. 2   A_i  = groupnorm(R')                            over the rollouts of one prompt, on every policy token

So no call is punished that was needed: where every text-only rollout is wrong, a right answer with a call earns all.

Functions take an outcome and a number of calls for each rollout, and groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from verl_mapo import names
from verl_mapo.advantages.groups import group_stats, grpo_advantage, has_policy_token
from verl_mapo.charts import BLUE, GREEN, VERMILION, Curve, Panel
from verl_mapo.columns import CORRECT
from verl_mapo.lens.estimators import Estimator, tool_credit
from verl_mapo.settings import STRICT
from verl_mapo.training.method import Method

if TYPE_CHECKING:
    from verl_mapo.training.step_batch import StepBatch


@dataclass(frozen=True, config=STRICT)
class NaarSettings:
    """Settings of :func:`naar_advantage`, ``algorithm.naar``.

    Attributes:
        needless_share: c, share of the outcome that is left to a right rollout with calls where a text-only rollout of
            its prompt is right, in [0, 1] [reader: 0.25].
    """

    NODE: ClassVar[str] = "algorithm.naar"

    needless_share: Annotated[float, Field(ge=0, le=1)] = 0.25


class NaarAdvantage(NamedTuple):
    """Result of :func:`naar_advantage`; B rollouts, L response positions, N groups.

    Attributes:
        advantages: (B, L) in outcome's dtype, exactly 0 on all other than policy tokens.
        reward: (B,) R', in outcome's dtype.
        needless: (B,) bool, the rollout is right and its calls were not needed.
        answerable: (N,) bool, a text-only rollout of the group is right.
    """

    advantages: Tensor
    reward: Tensor
    needless: Tensor
    answerable: Tensor


@torch.no_grad()
def naar_advantage(
    outcome: Tensor,
    calls: Tensor,
    response_mask: Tensor,
    group: Tensor,
    settings: NaarSettings,
    norm_by_std: bool = True,
) -> NaarAdvantage:
    """The advantage of every policy token of a batch (Eq. 1 and 2). All tensors on one device; rows in any order.

    With ``needless_share = 1`` it is :func:`~verl_mapo.advantages.groups.grpo_advantage`. A rollout that takes no part
    in the statistics of its group, see :mod:`verl_mapo.advantages.groups`, is no text-only success either.

    Args:
        outcome: (B,) float32 or float64, R; 1 is right.
        calls: (B,) integer, number of calls.
        response_mask: (B, L), 1 on the tokens that the loss acts on; integer, bool or outcome's dtype.
        group: (B,) int64 group numbers, see :func:`verl_mapo.advantages.groups.group_ids`.
        settings: the settings.
        norm_by_std: verl's ``norm_adv_by_std_in_grpo``.
    """
    right = has_policy_token(response_mask) & (outcome >= CORRECT)
    answerable = group_stats(outcome, group, right & (calls == 0)).count > 0
    needless = right & (calls > 0) & answerable[group]
    reward = torch.where(needless, settings.needless_share * outcome, outcome)
    advantages = grpo_advantage(reward, response_mask, group, by_std=norm_by_std)
    return NaarAdvantage(advantages, reward, needless, answerable)


class Naar(Method):
    """GRPO on the reward R', see :func:`naar_advantage`."""

    name = names.NAAR
    Settings = NaarSettings
    record_keys = ("adapted_reward",)
    reads_turns = True
    settings: NaarSettings

    def advantages(self, step: StepBatch, rewards: Tensor, response_mask: Tensor) -> Tensor:
        """See :func:`naar_advantage`."""
        result = naar_advantage(step.outcome, step.calls, response_mask, step.group, self.settings, self.norm_by_std)
        step.results[self.name] = result
        return result.advantages

    def metrics(self, step: StepBatch) -> dict[str, float]:
        """``naar/*``: share of the questions that text alone solved, and of the rollouts with needless calls."""
        result: NaarAdvantage = step.results[self.name]
        counted = step.not_padding & step.judged
        metrics = {
            "reward/mean": result.reward[counted].double().mean(),
            "answerable_share": result.answerable[step.group[counted].unique()].double().mean(),
            "needless_share": result.needless[counted].double().mean(),
            "called_share": (step.calls[counted] > 0).double().mean(),
        }
        return {f"naar/{name}": float(value) for name, value in metrics.items()}

    def records(self, step: StepBatch) -> dict[int, dict[str, Any]]:
        """R' of every row."""
        result: NaarAdvantage = step.results[self.name]
        return {row: {"adapted_reward": float(result.reward[row])} for row in range(len(step))}

    @classmethod
    def lens_rows(cls) -> list[Estimator]:
        """NAAR with its default share, and its placebo: the calls exchanged among the right rollouts of a question."""
        return tool_credit(cls.name, naar_advantage, cls.Settings())

    panels = (
        Panel(
            "Calls and their need",
            (
                Curve("rollouts with calls", "naar/called_share", BLUE),
                Curve("right, calls not needed", "naar/needless_share", VERMILION),
                Curve("questions solved by text alone", "naar/answerable_share", GREEN),
            ),
            "Needless calls should become fewer. If rollouts with calls vanish while the share of questions that text "
            "alone solves stands still, the model unlearns a tool that it needs.",
            share=True,
        ),
    )
