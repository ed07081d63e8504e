# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The advantage estimators as verl calls them: thin, from verl's arguments and the carried columns to the math."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from verl.trainer.ppo.core_algos import compute_grpo_vectorized_outcome_advantage, register_adv_est

from verl_mapo.advantages.axpo import AxpoConfig, axpo_advantage, axpo_groups, grpo_base
from verl_mapo.advantages.groups import group_ids
from verl_mapo.advantages.mapo import MapoAdvantage, MapoConfig, mapo_advantage
from verl_mapo.rollout.exploration import ROLE_COLUMNS
from verl_mapo.rollout.trajectory import COLUMNS
from verl_mapo.settings import parse
from verl_mapo.training.columns import carried

_UNALIGNED = (
    "{} needs rollouts with alignment columns, and these carry none: set "
    "actor_rollout_ref.rollout.agent.default_agent_loop=visual_tool_agent and "
    "reward.reward_manager.name=description_alignment."
)
_UNEXPLORED = (
    "algorithm.adv_estimator=axpo needs explored rollouts, and these say nothing of prefixes: use one of verl's V1 "
    "trainers, with trainer.use_v1=true."
)


@register_adv_est("mapo")
def mapo(
    token_level_rewards: torch.Tensor, response_mask: torch.Tensor, index: np.ndarray, config: DictConfig, **_: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """``algorithm.adv_estimator=mapo``: see :func:`verl_mapo.advantages.mapo.mapo_advantage`.

    Args:
        token_level_rewards: (B, L) float.
        response_mask: (B, L), 1 on policy tokens.
        index: (B,) uid of each row.
        config: the ``algorithm`` node.

    Returns:
        Advantages and returns, both (B, L), the same tensor.
    """
    carrier = carried(COLUMNS, _UNALIGNED.format("algorithm.adv_estimator=mapo"))
    settings = parse(MapoConfig, config.get("mapo"), "algorithm.mapo")
    carrier.mapo = _mapo(token_level_rewards, response_mask, group_ids(index), carrier.columns, settings, config)
    return carrier.mapo.advantages, carrier.mapo.advantages


@register_adv_est("axpo")
def axpo(
    token_level_rewards: torch.Tensor, response_mask: torch.Tensor, index: np.ndarray, config: DictConfig, **_: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """``algorithm.adv_estimator=axpo``: see :func:`verl_mapo.advantages.axpo.axpo_advantage`.

    With ``algorithm.axpo.alignment`` the plain advantage is MAPO's: arguments and returns are those of :func:`mapo`.

    Args:
        response_mask: (B, L), 1 on the tokens the loss acts on: the first of
            :func:`verl_mapo.advantages.axpo.loss_masks`.
    """
    carrier = carried(ROLE_COLUMNS, _UNEXPLORED)
    columns, weight = carrier.columns, 1.0
    settings = parse(AxpoConfig, config.get("axpo"), "algorithm.axpo")
    outcome, group, by_std = token_level_rewards.sum(dim=-1), group_ids(index), _by_std(config)
    role, prefix_id = columns["role"], columns["prefix_id"]
    groups = axpo_groups(group, role, prefix_id, settings)
    if settings.alignment:
        carried(COLUMNS, _UNALIGNED.format("algorithm.axpo.alignment=true"))
        alignment = parse(MapoConfig, config.get("mapo"), "algorithm.mapo")
        carrier.mapo = _mapo(token_level_rewards, response_mask, groups, columns, alignment, config)
        base, weight = carrier.mapo.advantages, alignment.outcome_weight
    else:
        base = grpo_base(outcome, response_mask, groups, settings, by_std)
    carrier.axpo = axpo_advantage(
        outcome, base, response_mask, group, role, columns["prefix_length"], prefix_id, settings, by_std, weight
    )
    return base, base


@register_adv_est("vgpo")
def vgpo(
    token_level_rewards: torch.Tensor, response_mask: torch.Tensor, index: np.ndarray, config: DictConfig, **_: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """``algorithm.adv_estimator=vgpo``: verl's GRPO, which the trainer then multiplies by VGPO's factors.

    Arguments and returns are those of :func:`mapo`.
    """
    return compute_grpo_vectorized_outcome_advantage(
        token_level_rewards, response_mask, index, norm_adv_by_std_in_grpo=_by_std(config)
    )


def _mapo(
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    group: torch.Tensor,
    columns: dict[str, torch.Tensor],
    settings: MapoConfig,
    config: DictConfig,
) -> MapoAdvantage:
    return mapo_advantage(
        outcome=token_level_rewards.sum(dim=-1),
        turn_scores=columns["turn_scores"],
        turn_status=columns["turn_status"],
        turn_spans=columns["turn_spans"],
        response_mask=response_mask,
        group=group,
        config=settings,
        norm_by_std=_by_std(config),
    )


def _by_std(config: DictConfig) -> bool:
    return config.get("norm_adv_by_std_in_grpo", True)
