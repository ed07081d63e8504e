# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The GPUs that verl will reserve, which no actor of a scorer may take."""

from __future__ import annotations

from copy import deepcopy

import pytest
from omegaconf import DictConfig
from support.scripted import compose_config

from verl_mapo.training.scorer_actors import scorer_actors, training_bundles

ENGINES = ["trainer.v1.trainer_mode=separate_async", "actor_rollout_ref.rollout.nnodes=2"]


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    return compose_config()


@pytest.mark.parametrize(
    ("overrides", "bundles"),
    [
        ([], [8]),
        (["trainer.nnodes=2", "trainer.n_gpus_per_node=4"], [4, 4]),
        ([*ENGINES, "actor_rollout_ref.rollout.tensor_model_parallel_size=4"], [8, 4, 4, 4, 4]),
        ([*ENGINES, "actor_rollout_ref.rollout.tensor_model_parallel_size=16"], [8, 8, 8]),
        (
            [
                "reward.reward_model.enable_resource_pool=true",
                "reward.reward_model.n_gpus_per_node=2",
                "reward.reward_model.nnodes=1",
                "distillation.enabled=true",
                "distillation.n_gpus_per_node=1",
                "distillation.nnodes=2",
            ],
            [8, 2, 1, 1],
        ),
    ],
)
def test_every_pool_of_verl_is_counted(composed, overrides, bundles):
    config = deepcopy(composed)
    config.merge_with_dotlist(["trainer.n_gpus_per_node=8", "trainer.nnodes=1", *overrides])
    assert training_bundles(config) == bundles


@pytest.mark.parametrize(
    "override", ["reward.description_alignment.scorer.placement=worker", "reward.reward_manager.name=naive"]
)
def test_run_whose_scorer_is_in_no_actor_needs_no_ray(composed, override):
    config = deepcopy(composed)
    config.merge_with_dotlist([override])
    assert scorer_actors(config) == []
