# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""HDPO (arXiv 2604.08545): GRPO, plus an advantage for few calls among the right rollouts of a question.

Equations, with the numbers of docs/papers.md; the authors' code states all of them. R is the outcome, T the number of
calls:

    Eq. 1   A_out,i  = groupnorm(R)                        over the rollouts of one prompt
    Eq. 2   r_tool,i = 1 / (T_i + 1)                       for right rollouts; the others have none
    Eq. 3   A_tool,i = groupnorm(r_tool)                   over the right rollouts of one prompt; 0 if fewer than two
    Eq. 4   A_i      = A_out,i + w A_tool,i                on every policy token

A wrong rollout earns nothing by calling less, and a right one is compared with right ones alone. The authors add up two
clipped losses instead of two advantages: L = L_clip(A_out) + w L_clip(A_tool). Both forms are the same at every token
that the clip leaves alone, and at every token where A_out and A_tool have the same sign, whatever the ratio; so the
first update of a batch is the same. verl's policy loss takes one advantage, so the form with two losses is not built.

Functions take an outcome and a number of calls for each rollout, and groups; numbers per row are float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from verl_mapo import names
from verl_mapo.advantages.groups import group_normalise, has_policy_token
from verl_mapo.charts import BLUE, VERMILION, Curve, Panel
from verl_mapo.columns import CORRECT
from verl_mapo.lens.estimators import Estimator, tool_credit
from verl_mapo.settings import STRICT
from verl_mapo.training.method import Method

if TYPE_CHECKING:
    from verl_mapo.training.step_batch import StepBatch


@dataclass(frozen=True, config=STRICT)
class HdpoSettings:
    """Settings of :func:`hdpo_advantage`, ``algorithm.hdpo``.

    Attributes:
        weight: w, weight of A_tool relative to A_out, >= 0, without unit [paper: 0.15].
    """

    NODE: ClassVar[str] = "algorithm.hdpo"

    weight: Annotated[float, Field(ge=0)] = 0.15


class HdpoAdvantage(NamedTuple):
    """Result of :func:`hdpo_advantage`; B rollouts, L response positions, N groups, floats in outcome's dtype.

    Attributes:
        advantages: (B, L), exactly 0 on all other than policy tokens.
        a_out: (B,) Eq. 1.
        a_tool: (B,) Eq. 3, before the weight; 0 for a rollout that is not right.
        compared: (N,) bool, the group has two right rollouts, so that Eq. 3 can compare them.
    """

    advantages: Tensor
    a_out: Tensor
    a_tool: Tensor
    compared: Tensor


@torch.no_grad()
def hdpo_advantage(
    outcome: Tensor,
    calls: Tensor,
    response_mask: Tensor,
    group: Tensor,
    settings: HdpoSettings,
    norm_by_std: bool = True,
) -> HdpoAdvantage:
    """The advantage of every policy token of a batch (Eq. 1 to 4). All tensors on one device; rows in any order.

    With ``weight = 0`` it is :func:`~verl_mapo.advantages.groups.grpo_advantage`. Which rows take part is the rule of
    :mod:`verl_mapo.advantages.groups`.

    Args:
        outcome: (B,) float32 or float64, R; 1 is right.
        calls: (B,) integer, T.
        response_mask: (B, L), 1 on the tokens that the loss acts on; integer, bool or outcome's dtype.
        group: (B,) int64 group numbers, see :func:`verl_mapo.advantages.groups.group_ids`.
        settings: the settings.
        norm_by_std: verl's ``norm_adv_by_std_in_grpo``, for both parts.
    """
    dtype, live = outcome.dtype, has_policy_token(response_mask)
    out = group_normalise(outcome.double(), group, live, by_std=norm_by_std)
    economy = 1 / (calls.double() + 1)
    tool = group_normalise(economy, group, live & (outcome >= CORRECT), by_std=norm_by_std)
    rollout = out.value + settings.weight * tool.value
    return HdpoAdvantage(
        advantages=response_mask.to(dtype, copy=True).mul_(rollout.to(dtype).unsqueeze(1)),
        a_out=out.value.to(dtype),
        a_tool=tool.value.to(dtype),
        compared=tool.counted,
    )


class Hdpo(Method):
    """The advantage A_out + w A_tool, see :func:`hdpo_advantage`."""

    name = names.HDPO
    Settings = HdpoSettings
    record_keys = ("a_out", "a_tool")
    reads_turns = True
    settings: HdpoSettings

    def advantages(self, step: StepBatch, rewards: Tensor, response_mask: Tensor) -> Tensor:
        """See :func:`hdpo_advantage`."""
        result = hdpo_advantage(step.outcome, step.calls, response_mask, step.group, self.settings, self.norm_by_std)
        step.results[self.name] = result
        return result.advantages

    def metrics(self, step: StepBatch) -> dict[str, float]:
        """``hdpo/*``: spread of both advantages, share of the groups with two right rollouts, and calls a rollout."""
        result: HdpoAdvantage = step.results[self.name]
        counted = step.not_padding & step.judged
        right = counted & (step.outcome >= CORRECT)
        metrics = {
            "a_out/std": result.a_out[counted].std(correction=0),
            "a_tool/std": result.a_tool[counted].std(correction=0),
            "compared_share": result.compared[step.group[counted].unique()].double().mean(),
            "calls/all": step.calls[counted].double().mean(),
            **({"calls/right": step.calls[right].double().mean()} if right.any() else {}),
        }
        return {f"hdpo/{name}": float(value) for name, value in metrics.items()}

    def records(self, step: StepBatch) -> dict[int, dict[str, Any]]:
        """A_out and A_tool of every row."""
        result: HdpoAdvantage = step.results[self.name]
        columns = zip(result.a_out.tolist(), result.a_tool.tolist(), strict=True)
        return {row: dict(zip(self.record_keys, values, strict=True)) for row, values in enumerate(columns)}

    @classmethod
    def lens_rows(cls) -> list[Estimator]:
        """HDPO with its default weight, and its placebo: the calls exchanged among the right rollouts of a question."""
        return tool_credit(cls.name, hdpo_advantage, cls.Settings())

    panels = (
        Panel(
            "Calls a rollout",
            (Curve("all", "hdpo/calls/all", BLUE), Curve("right", "hdpo/calls/right", VERMILION)),
            "HDPO favours right rollouts with few calls. If calls vanish while accuracy falls, algorithm.hdpo.weight "
            "is too large.",
        ),
        Panel(
            "Groups whose calls are compared",
            (Curve("two right rollouts", "hdpo/compared_share"),),
            "Only a group with two right rollouts says anything about calls.",
            share=True,
        ),
    )
