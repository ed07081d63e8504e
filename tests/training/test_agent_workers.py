# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from support.scripted import compose_config

from verl_mapo.names import AGENT_WORKERS
from verl_mapo.settings import ConfigError, select
from verl_mapo.training.agent_workers import set_agent_workers


def workers(*overrides: str) -> int:
    stack = [override for override in overrides if override.startswith("stack=")]
    config = compose_config(*stack)
    config.merge_with_dotlist([override for override in overrides if override not in stack])
    set_agent_workers(config)
    return select(config, AGENT_WORKERS)


@pytest.mark.parametrize(
    ("overrides", "number"),
    [
        (["trainer.n_gpus_per_node=8", "trainer.nnodes=1"], 32),
        (["trainer.n_gpus_per_node=8", "trainer.nnodes=8"], 256),
        (["trainer.n_gpus_per_node=8", "trainer.nnodes=8", "data.train_batch_size=64"], 64),
        (["trainer.n_gpus_per_node=1", "data.train_batch_size=2"], 2),
        (
            [
                "trainer.n_gpus_per_node=8",
                "trainer.v1.trainer_mode=separate_async",
                "actor_rollout_ref.rollout.nnodes=2",
                "actor_rollout_ref.rollout.n_gpus_per_node=4",
            ],
            64,
        ),
        (["trainer.n_gpus_per_node=8", f"{AGENT_WORKERS}=5"], 5),
        (["stack=cpu"], 1),
    ],
)
def test_workers_grow_with_the_cluster_unless_they_are_set(overrides, number):
    assert workers(*overrides) == number


@pytest.mark.parametrize("given", ["0", "-4", "1.5", "many", "true"])
def test_other_numbers_are_refused(given):
    with pytest.raises(ConfigError, match=rf"{AGENT_WORKERS}=.*for example 8"):
        workers(f"{AGENT_WORKERS}={given}")
