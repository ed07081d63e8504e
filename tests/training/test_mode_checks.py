# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What the mode separate_async needs is refused at the start, and the configuration group ``mode`` sets it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from support.scripted import compose_config
from verl.trainer.ppo.v1 import PPOTrainer, PPOTrainerSeparateAsync

from verl_mapo.settings import ConfigError
from verl_mapo.training.mode_checks import check_mode

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*/*.yaml"))
SYNC_STEP = "trainer.v1.separate_async.parameter_sync_step"
READY = ["+mode=separate_async", "data.train_batch_size=128", "actor_rollout_ref.actor.ppo_mini_batch_size=64"]


def accepted_by_verl(config, monkeypatch):
    monkeypatch.setattr(PPOTrainer, "__init__", lambda self, config: setattr(self, "config", config))
    PPOTrainerSeparateAsync(config)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_group_is_what_verl_asserts_of_every_recipe(recipe, monkeypatch):
    overrides = ["+mode=separate_async", "data.train_files=a.parquet", "data.val_files=b.parquet"]
    if recipe.parent.name == "vgpo":
        overrides.append(f"{SYNC_STEP}=4")
    with initialize_config_dir(str(recipe.parent), version_base=None):
        config = compose(recipe.stem, overrides)
    assert config.trainer.v1.trainer_mode == "separate_async"
    check_mode(config)
    accepted_by_verl(config, monkeypatch)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("actor_rollout_ref.rollout.nnodes=0", "rollout.nnodes=0: set it to 1 or more \\(\\+mode=separate_async"),
        ("actor_rollout_ref.rollout.n_gpus_per_node=0", "rollout.n_gpus_per_node=0: set it to 1 or more"),
        ("actor_rollout_ref.rollout.checkpoint_engine.backend=naive", "backend=naive has none: set it to nccl"),
        (f"{SYNC_STEP}=4", f"data.train_batch_size=128 is not .*=64 = 256: set {SYNC_STEP}=2"),
        ("data.train_batch_size=100", "data.train_batch_size=100 is not .* = 128: set data.train_batch_size=128"),
    ],
)
def test_what_verl_asserts_after_ray_has_started_is_refused_before(override, sentence, monkeypatch):
    config = compose_config(*READY, override)
    with pytest.raises(ConfigError, match=sentence):
        check_mode(config)
    with pytest.raises(AssertionError):
        accepted_by_verl(config, monkeypatch)


def test_other_modes_need_nothing():
    check_mode(compose_config())
