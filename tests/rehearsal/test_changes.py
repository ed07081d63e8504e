# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What a rehearsal changes, and what it leaves as it is, whatever a recipe asks for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from verl_mapo.rehearsal.changes import OWN, RULES, Parts, changes, cpu_stack
from verl_mapo.settings import ConfigError, select
from verl_mapo.training.logger_checks import BACKENDS, Backend

RECIPE = Path(__file__).parents[2] / "recipes" / "mapo" / "qwen2_5_vl_7b.yaml"
PARTS = Parts(Path("/parts/model"), Path("/parts/scorer"), Path("/parts/data.parquet"), "rows", 152_064)


def composed(*overrides):
    with initialize_config_dir(str(RECIPE.parent), version_base=None):
        return compose(RECIPE.stem, ["stack=cpu", *overrides])


def changed(*overrides):
    return {change.setting: change for change in changes(composed(*overrides), PARTS)}


def test_changes_are_of_the_table_or_of_the_stack_and_the_rest_is_as_written():
    found = changed()
    assert {*found} <= {rule.setting for rule in RULES} | {*cpu_stack()}
    before, after = composed(), composed(*(change.override for change in found.values()))
    for setting, change in found.items():
        assert select(after, setting) == change.after != select(before, setting)
    for setting in (
        "data.max_response_length",
        "visual_tool",
        "algorithm",
        "actor_rollout_ref.actor.fsdp_config",
        "actor_rollout_ref.rollout.n",
        "actor_rollout_ref.rollout.max_num_batched_tokens",
        "trainer.test_freq",
    ):
        assert setting == "visual_tool" or select(after, setting) == select(before, setting), setting
    assert not changes(after, PARTS), "a rehearsal of a rehearsal changes nothing"


@pytest.mark.parametrize(
    ("overrides", "setting", "after", "lost"),
    [
        (["trainer.nnodes=8"], "trainer.nnodes", 1, "several nodes"),
        (["trainer.device=cuda"], "trainer.device", "cpu", ""),
        (
            ["actor_rollout_ref.rollout.tensor_model_parallel_size=4"],
            "actor_rollout_ref.rollout.tensor_model_parallel_size",
            1,
            "tensor parallelism",
        ),
        (["actor_rollout_ref.rollout.dtype=bfloat16"], "actor_rollout_ref.rollout.dtype", "float32", ""),
        (
            ["actor_rollout_ref.actor.strategy=fsdp"],
            "actor_rollout_ref.actor.strategy",
            "fsdp2",
            "another engine than FSDP2",
        ),
        (
            ["actor_rollout_ref.rollout.name=sglang"],
            "actor_rollout_ref.rollout.name",
            "vllm",
            "another engine than vLLM",
        ),
        (
            ["actor_rollout_ref.actor.ulysses_sequence_parallel_size=2"],
            "actor_rollout_ref.actor.ulysses_sequence_parallel_size",
            1,
            "Ulysses sequence parallelism",
        ),
        (
            ["trainer.v1.trainer_mode=separate_async"],
            "trainer.v1.trainer_mode",
            "colocate_async",
            "separate from training",
        ),
        (
            ["reward.description_alignment.scorer.placement=actor", "reward.description_alignment.scorer.num_gpus=0.5"],
            "reward.description_alignment.scorer.num_gpus",
            0.0,
            "",
        ),
        (
            ["reward.description_alignment.scorer.device=cuda"],
            "reward.description_alignment.scorer.device",
            "cpu",
            "the scorer on a GPU",
        ),
        (["actor_rollout_ref.rollout.load_format=dummy"], "actor_rollout_ref.rollout.load_format", "auto", ""),
        (
            ["reward.description_alignment.scorer.placement=actor", "reward.description_alignment.scorer.replicas=8"],
            "reward.description_alignment.scorer.replicas",
            1,
            "several scorers",
        ),
        (["trainer.save_freq=-1"], "trainer.save_freq", 2, ""),
        (["trainer.resume_mode=disable"], "trainer.resume_mode", "auto", ""),
        (
            ["trainer.logger=[console,no_such_logger,mlflow]"],
            "trainer.logger",
            ["console", "no_such_logger"],
            "loggers",
        ),
        (
            ["data.train_batch_size=96", "actor_rollout_ref.actor.ppo_mini_batch_size=96"],
            "actor_rollout_ref.actor.ppo_mini_batch_size",
            2,
            "",
        ),
    ],
)
def test_setting_that_a_cpu_cannot_do_is_changed_and_said(overrides, setting, after, lost, monkeypatch):
    monkeypatch.setitem(BACKENDS, "mlflow", Backend("no_such_package"))
    change = changed(*overrides)[setting]
    assert change.after == after and lost in change.lost and change.reason


@pytest.mark.parametrize(
    "kept",
    [
        "visual_tool.seed=7",
        "trainer.save_freq=1",
        "actor_rollout_ref.rollout.load_format=safetensors",
        "actor_rollout_ref.rollout.max_num_seqs=64",
        "actor_rollout_ref.model.enable_gradient_checkpointing=true",
    ],
)
def test_setting_that_a_cpu_can_do_is_left(kept):
    assert kept.partition("=")[0] not in changed(kept)


def test_scorer_in_a_folder_is_left(tmp_path):
    (tmp_path / "config.json").touch()
    assert "reward.description_alignment.scorer.model" not in changed(
        f"reward.description_alignment.scorer.model={tmp_path}"
    )


def test_axpo_has_prompts_enough_for_a_prefix():
    config = composed("method=axpo", "actor_rollout_ref.rollout.n=4", "algorithm.axpo.ratio=0.25")
    assert {change.setting: change.after for change in changes(config, PARTS)}["data.train_batch_size"] == 4


def test_engine_that_a_cpu_does_not_have_is_refused_in_words():
    with pytest.raises(ConfigError, match="actor_rollout_ref.actor.strategy=megatron cannot be rehearsed"):
        changed("actor_rollout_ref.actor.strategy=megatron")


def test_own_settings_are_of_the_stack():
    stack = composed()
    assert all(select(stack, own) is not None for own in OWN)
