# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The check of what ``trainer.v1.trainer_mode=separate_async`` needs; verl asserts it after Ray has started."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig

from verl_mapo import names
from verl_mapo.settings import ConfigError
from verl_mapo.training.dead_settings_conditions import ROLLOUT

_SYNC_STEP = "trainer.v1.separate_async.parameter_sync_step"
_REMEDY = "+mode=separate_async sets it"


def check_mode(config: DictConfig) -> None:
    """Check the settings of the mode ``separate_async``; other modes need none.

    Args:
        config: the whole configuration.

    Raises:
        ConfigError: with one sentence for every setting.
    """
    if config.trainer.v1.trainer_mode == "separate_async" and (sentences := [*_faults(config)]):
        raise ConfigError(" ".join(sentences))


def _faults(config: DictConfig) -> Iterator[str]:
    needs = f"{names.TRAINER_MODE}=separate_async needs"
    rollout = config.actor_rollout_ref.rollout
    for name, things, remedy in (("nnodes", "nodes", _REMEDY), ("n_gpus_per_node", "GPUs", "on each of those nodes")):
        if not rollout[name] or rollout[name] < 1:
            given = f"{ROLLOUT}.{name}={rollout[name]}"
            yield f"{needs} {things} of its own for generation, and {given}: set it to 1 or more ({remedy})."
    if rollout.checkpoint_engine.backend == "naive":
        given = f"{ROLLOUT}.checkpoint_engine.backend=naive"
        yield f"{needs} a way to send weights to other GPUs, and {given} has none: set it to nccl ({_REMEDY})."
    batch, mini = config.data.train_batch_size, config.actor_rollout_ref.actor.ppo_mini_batch_size
    updates = config.trainer.v1.separate_async.parameter_sync_step
    if batch != updates * mini:
        right = f"{_SYNC_STEP}={batch // mini}" if batch % mini == 0 else f"{names.TRAIN_BATCH_SIZE}={updates * mini}"
        yield (
            f"{needs} whole updates, and {names.TRAIN_BATCH_SIZE}={batch} is not {_SYNC_STEP}={updates} x "
            f"actor_rollout_ref.actor.ppo_mini_batch_size={mini} = {updates * mini}: set {right}."
        )
