# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""GRPO with a bonus for correct rollouts that called a tool: a complete method outside verl_mapo."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from verl_mapo.advantages.groups import grpo_advantage
from verl_mapo.charts import Curve, Panel
from verl_mapo.columns import CORRECT
from verl_mapo.settings import STRICT
from verl_mapo.training.method import Method


@dataclass(frozen=True, config=STRICT)
class ToolBonusSettings:
    """Settings of :class:`ToolBonus`.

    Attributes:
        bonus: added to the outcome of a correct rollout that called a tool.
    """

    NODE: ClassVar[str] = "algorithm.tool_bonus"

    bonus: Annotated[float, Field(ge=0)] = 0.5


class ToolBonus(Method):
    """GRPO over the outcome, plus ``bonus`` for correct tool users."""

    name = "tool_bonus"
    Settings = ToolBonusSettings
    panels = (Panel("Rollouts with a bonus", (Curve("share", "tool_bonus/share"),), "Should rise.", share=True),)

    def advantages(self, step, rewards: Tensor, response_mask: Tensor) -> Tensor:
        called = torch.tensor([trajectory is not None and trajectory.called for trajectory in step.trajectories])
        earned = called & (step.outcome >= CORRECT)
        step.results[self.name] = earned
        value = step.outcome + self.settings.bonus * earned
        return grpo_advantage(value, response_mask, step.group, by_std=self.norm_by_std)

    def metrics(self, step) -> dict[str, float]:
        return {"tool_bonus/share": float(step.results[self.name][step.original].float().mean())}
