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
"""What the user may have set wrong, found before any worker starts."""

from __future__ import annotations

import math

from omegaconf import DictConfig
from packaging.version import Version

from verl_mapo.advantages.axpo import AxpoConfig
from verl_mapo.advantages.mapo import MapoConfig
from verl_mapo.advantages.visual_credit import VisualCreditConfig
from verl_mapo.doctor import distribution_version
from verl_mapo.rewards.settings import alignment_settings
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError, credits_looks, parse, select

ESTIMATORS = ("mapo", "axpo", "vgpo")
"""The advantage estimators of this package."""

LOOP = "visual_tool_agent"
REWARD = "description_alignment"

MANAGER = "actor_rollout_ref.rollout.agent.agent_loop_manager_class"
"""The setting through which an estimator brings its own rollout."""

_LOOP = "actor_rollout_ref.rollout.agent.default_agent_loop"
_REWARD = "reward.reward_manager.name"


def uses_this_package(config: DictConfig) -> bool:
    """Whether a run asks for any part of this package; any other run gets verl's own trainer, untouched."""
    return (
        config.algorithm.adv_estimator in ESTIMATORS
        or credits_looks(config)
        or select(config, _LOOP) == LOOP
        or select(config, _REWARD) == REWARD
    )


def check_config(config: DictConfig) -> None:
    """Check every setting that can be checked without model and data.

    Raises:
        ConfigError: naming the setting, its value and a right value.
    """
    parse(VisualToolSettings, config.get("visual_tool"), "visual_tool")
    parse(MapoConfig, config.algorithm.get("mapo"), "algorithm.mapo")
    if select(config, _REWARD) == REWARD:
        alignment_settings(config)
    axpo = parse(AxpoConfig, config.algorithm.get("axpo"), "algorithm.axpo")
    parse(VisualCreditConfig, config.algorithm.get("visual_credit"), "algorithm.visual_credit")
    _check_weights(config)
    if credits_looks(config):
        _check_credit(config)
    estimator = config.algorithm.adv_estimator
    if estimator not in ESTIMATORS:
        return
    rollout = config.actor_rollout_ref.rollout
    if rollout.n < 2:
        raise ConfigError(
            f"actor_rollout_ref.rollout.n={rollout.n}, but algorithm.adv_estimator={estimator} compares the rollouts "
            "of a prompt: set it to 2 or more, for example 8."
        )
    if config.reward.reward_model.enable and not config.reward.reward_model.enable_resource_pool:
        raise ConfigError(
            "reward.reward_model.enable=True without a resource pool scores after the rollout, when the crops are "
            "gone and nothing can be resampled: set reward.reward_model.enable_resource_pool=True, or "
            "reward.reward_model.enable=False."
        )
    if estimator == "mapo":
        _check_alignment(config, "algorithm.adv_estimator=mapo")
    if estimator == "axpo":
        if axpo.alignment:
            _check_alignment(config, "algorithm.axpo.alignment=true")
        _check_exploration(config, axpo)


def _check_alignment(config: DictConfig, asker: str) -> None:
    if config.reward.reward_manager.source == "register" and select(config, _REWARD) != REWARD:
        raise ConfigError(
            f"{_REWARD}={select(config, _REWARD)} gives no alignment scores, which {asker} needs: set "
            f"{_REWARD}={REWARD} and {_LOOP}={LOOP}."
        )


def _check_credit(config: DictConfig) -> None:
    """Focus comes with the log-prob pass of an FSDP engine, and from nowhere else."""
    strategy = config.actor_rollout_ref.actor.strategy
    if strategy not in ("fsdp", "fsdp2"):
        raise ConfigError(
            f"actor_rollout_ref.actor.strategy={strategy} is an engine that gives no visual focus, which visual credit "
            "needs: set it to fsdp2 or fsdp."
        )
    if select(config, "algorithm.rollout_correction.bypass_mode", False):
        raise ConfigError(
            "algorithm.rollout_correction.bypass_mode=True leaves out the log-prob pass in which visual credit reads "
            "its scores: set it to false."
        )


def _check_exploration(config: DictConfig, axpo: AxpoConfig) -> None:
    """What resampling tool calls asks of the rollout and of the batch."""
    rollout, prompts = config.actor_rollout_ref.rollout, config.data.train_batch_size
    turns = rollout.multi_turn.max_assistant_turns
    if not axpo.slots(prompts * rollout.n):
        share = axpo.ratio * prompts * rollout.n / axpo.continuations
        raise ConfigError(
            f"algorithm.axpo.ratio={axpo.ratio} pays for {axpo.ratio} x {prompts} prompts x {rollout.n} rollouts / "
            f"{axpo.continuations} continuations = {share:.2g} prefixes a step, less than one: set "
            f"algorithm.axpo.ratio to at least {math.ceil(100 * axpo.continuations / (prompts * rollout.n)) / 100}, or "
            "raise data.train_batch_size or actor_rollout_ref.rollout.n."
        )
    if not rollout.calculate_log_probs:
        raise ConfigError(
            "actor_rollout_ref.rollout.calculate_log_probs=False leaves algorithm.adv_estimator=axpo without the "
            "probabilities by which it chooses tool calls: set it to true."
        )
    if turns is not None and turns < 2:
        raise ConfigError(
            f"actor_rollout_ref.rollout.multi_turn.max_assistant_turns={turns} leaves no turn after a tool call, and "
            "algorithm.adv_estimator=axpo resamples nothing but tool calls: set it to 2 or more, for example 3."
        )
    if select(config, MANAGER):
        raise ConfigError(
            f"{MANAGER}={select(config, MANAGER)} stands where algorithm.adv_estimator=axpo puts its own explorative "
            "rollout: leave it at null."
        )
    if config.critic.enable:
        raise ConfigError(
            "critic.enable=True trains a critic, which algorithm.adv_estimator=axpo does not use and whose batches "
            "would be padded for its extra rows: set it to false."
        )


def _check_weights(config: DictConfig) -> None:
    """Dummy weights also randomise Qwen2.5-VL's input normalisation since vLLM 0.28, and no weight sync restores it."""
    rollout = config.actor_rollout_ref.rollout
    found = distribution_version("vllm")
    if rollout.name == "vllm" and rollout.load_format == "dummy" and found and Version(found) >= Version("0.28"):
        raise ConfigError(
            f"actor_rollout_ref.rollout.load_format=dummy makes vLLM {found} see wrong images, without a word: set "
            "actor_rollout_ref.rollout.load_format=auto."
        )


def check_rows(config: DictConfig, columns: list[str]) -> None:
    """Check that some agent loop that records visual turns will run.

    Args:
        columns: of the training data; ``agent_name`` chooses a loop row by row.

    Raises:
        ConfigError: every row would run one of verl's own loops.
    """
    loop = select(config, _LOOP)
    stock = ("single_turn_agent", "tool_agent", "diffusion_single_turn_agent")
    if config.algorithm.adv_estimator in ("mapo", "axpo") and loop in stock and "agent_name" not in columns:
        raise ConfigError(
            f"{_LOOP}={loop} records no visual turns, which algorithm.adv_estimator={config.algorithm.adv_estimator} "
            f"needs: set {_LOOP}={LOOP}."
        )
