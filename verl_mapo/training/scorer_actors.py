# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The scorer's actors of a run, started before verl reserves its GPUs."""

from __future__ import annotations

from omegaconf import DictConfig
from ray.actor import ActorHandle

from verl_mapo import names
from verl_mapo.rewards.scorers.actor import start_scorers
from verl_mapo.rewards.settings import alignment_settings
from verl_mapo.settings import select


def scorer_actors(config: DictConfig) -> list[ActorHandle]:
    """Start the actors of a run and return their handles, which keep them alive; none unless ``placement=actor``.

    Raises:
        ConfigError: they cannot be started, or leave training too few GPUs.
    """
    if select(config, names.REWARD_MANAGER_NAME) != names.REWARD_MANAGER:
        return []
    scorer = alignment_settings(config).scorer
    return start_scorers(scorer, training_bundles(config)) if scorer.placement == "actor" else []


def training_bundles(config: DictConfig) -> list[int]:
    """Number of GPUs of each bundle that verl reserves on one node: of training and generation, and of its own models.

    Args:
        config: the whole configuration.
    """
    pools = [(config.trainer, config.trainer.n_gpus_per_node)]
    rollout = config.actor_rollout_ref.rollout
    if config.trainer.v1.trainer_mode == "separate_async":
        engine = rollout.tensor_model_parallel_size * rollout.data_parallel_size * rollout.pipeline_model_parallel_size
        pools.append((rollout, min(engine, rollout.n_gpus_per_node)))
    if config.reward.reward_model.enable_resource_pool:
        pools.append((config.reward.reward_model, config.reward.reward_model.n_gpus_per_node))
    if select(config, "distillation.enabled"):
        pools.append((config.distillation, config.distillation.n_gpus_per_node))
    return [size for pool, size in pools for _ in range(pool.nnodes * pool.n_gpus_per_node // size)]
