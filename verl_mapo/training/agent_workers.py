# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The number of agent-loop workers of all nodes together, which grows with the cluster unless it is set."""

from __future__ import annotations

from omegaconf import DictConfig

from verl_mapo.names import AGENT_WORKERS
from verl_mapo.settings import ConfigError, select

PER_GPU = 4
"""Workers for each GPU that generates [ours]: one event loop for the rollouts of about 32 sequences of an engine."""


def set_agent_workers(config: DictConfig) -> None:
    """Set ``actor_rollout_ref.rollout.agent.num_workers`` where it is null.

    A worker takes whole prompts, so there are never more workers than a batch has prompts.

    Args:
        config: the whole configuration, which is changed.

    Raises:
        ConfigError: the number is set, and is no positive integer.
    """
    given = select(config, AGENT_WORKERS)
    rollout = config.actor_rollout_ref.rollout
    if given is None:
        pools = [config.trainer, rollout] if config.trainer.v1.trainer_mode == "separate_async" else [config.trainer]
        gpus = sum(pool.nnodes * pool.n_gpus_per_node for pool in pools)
        rollout.agent.num_workers = max(1, min(PER_GPU * gpus, config.data.train_batch_size))
    elif isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ConfigError(
            f"{AGENT_WORKERS}={given} is refused: set it to a number of processes on all nodes together, for example "
            f"8, or to null, which makes it {PER_GPU} for each GPU of all nodes."
        )
