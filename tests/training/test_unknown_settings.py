# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Settings that are added to a configuration with a plus sign, at every place of it."""

from __future__ import annotations

import copy
import logging
from functools import cache
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from support.readers import VERL, readers
from support.scripted import compose_config

from verl_mapo.settings import ConfigError
from verl_mapo.training.config_checks import _own_nodes, check_config
from verl_mapo.training.unknown_settings import FREE, UNLISTED, unknown_settings, verl_settings


@cache
def base() -> DictConfig:
    config = compose_config("method=axpo", "algorithm.adv_estimator=mapo", "stack=cpu", "task=toy")
    OmegaConf.set_struct(config, False)
    return config


def with_setting(path: str, value: Any = 1) -> DictConfig:
    config = copy.deepcopy(base())
    OmegaConf.update(config, path, value, force_add=True)
    return config


def unknown(config: DictConfig) -> list[str]:
    return [setting.path for setting in unknown_settings(config, _own_nodes(config))]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("vizual_tool.x", "visual_tool"),
        ("visual_tools.describe", "visual_tool"),
        ("reward.description_aligment.x", "reward.description_alignment"),
        ("reward.reward_managr.name", "reward.reward_manager"),
        ("algorithm.visual_credt.beta", "algorithm.visual_credit"),
        ("algorithm.filter_group.enable", "algorithm.filter_groups"),
        ("actor_rollout_ref.actors.strategy", "actor_rollout_ref.actor"),
        ("actor_rollout_ref.rollout.multi_turns.enable", "actor_rollout_ref.rollout.multi_turn"),
        ("actor_rollout_ref.rollout.temprature", "actor_rollout_ref.rollout.temperature"),
        ("actor_rollout_ref.actor.lr", "actor_rollout_ref.actor.optim.lr"),
        ("actor_rollout_ref.actor.optim.weight_decays", "actor_rollout_ref.actor.optim.weight_decay"),
        ("actor_rollout_ref.actor.fsdp_config.param_ofload", "actor_rollout_ref.actor.fsdp_config.param_offload"),
        ("actor_rollout_ref.model.lora_rnk", "actor_rollout_ref.model.lora_rank"),
        ("data.train_file", "data.train_files"),
        ("data.max_promt_length", "data.max_prompt_length"),
        ("trainer.total_epoch", "trainer.total_epochs"),
        ("trainer.v1.separate_asynch.parameter_sync_step", "trainer.v1.separate_async"),
    ],
)
def test_misspelt_setting_is_refused_with_the_right_one(path, meant):
    with pytest.raises(ConfigError) as error:
        check_config(with_setting(path))
    assert f" is not a setting; did you mean {meant}?" in str(error.value)


@pytest.mark.parametrize(
    "path", ["actor_rollout_ref.x", "my_package.x", "data.my_column", "trainer.lr", "algorithm.zeta"]
)
def test_setting_that_only_code_of_the_user_can_know_is_a_warning(path, caplog):
    with caplog.at_level(logging.WARNING):
        check_config(with_setting(path))
    name = path if path != "my_package.x" else "my_package"
    assert [f"{name} is not a setting" in message for message in caplog.messages] == [True]


@pytest.mark.parametrize("path", ["actor_rollout_ref.actor.zeta", "actor_rollout_ref.rollout.val_kwargs.beams"])
def test_setting_of_which_verl_cannot_make_its_dataclass_is_refused(path):
    with pytest.raises(ConfigError, match=f"{path} is not a setting of verl or of this package"):
        check_config(with_setting(path))


@pytest.mark.parametrize(
    "path",
    [
        "data.mm_processor_kwargs.max_pixels",
        "data.apply_chat_template_kwargs.enable_thinking",
        "actor_rollout_ref.model.override_config.attn_implementation",
        "actor_rollout_ref.model.override_config.vision_config.depth",
        "actor_rollout_ref.model.target_parameters",
        "actor_rollout_ref.rollout.engine_kwargs.vllm.mm_processor_cache_gb",
        "actor_rollout_ref.rollout.engine_kwargs.vllm.limit_mm_per_prompt.image",
        "actor_rollout_ref.rollout.engine_kwargs.sglang.attention_backend",
        "actor_rollout_ref.rollout.checkpoint_engine.engine_kwargs.nccl.rebuild_group",
        "actor_rollout_ref.rollout.limit_images",
        "actor_rollout_ref.rollout.agent.agent_loop_manager_class",
        "actor_rollout_ref.rollout.disaggregation.mooncake_protocol",
        "actor_rollout_ref.actor.optim.override_optimizer_config.eps",
        "actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype",
        "actor_rollout_ref.actor.fsdp_config.wrap_policy.transformer_layer_cls_to_wrap",
        "actor_rollout_ref.actor.checkpoint.save_lora_only",
        "actor_rollout_ref.actor.policy_loss.rollout_correction",
        "reward.reward_kwargs.overlong_buffer_cfg.enable",
        "reward.custom_reward_function.reward_kwargs.scale",
        "reward.reward_model.rollout.engine_kwargs.vllm.seed",
        "reward.description_alignment.scorer.options.any",
        "visual_tool.tool_options.zoom.min_side",
        "visual_tool.aliases.image_zoom_in_tool",
        "trainer.v1.sampler.sampler_kwargs.alpha",
        "ray_kwargs.ray_init.runtime_env.env_vars.TOKEN",
        "ray_kwargs.ray_init.num_gpus",
        "global_profiler.global_tool_config.torch_memory.kw_args.stacks",
        "transfer_queue.backend.SimpleStorage.zeta",
        "distillation.teacher_models.math.model_path",
        "critic.model.override_config.attn_implementation",
    ],
)
def test_place_for_free_settings_takes_any(path):
    assert unknown(with_setting(path)) == []


def test_node_of_a_method_from_elsewhere_is_known():
    config = with_setting("my_methods.bonus.weight")
    assert unknown(config) == ["my_methods"]
    assert list(unknown_settings(config, {*_own_nodes(config), "my_methods.bonus"})) == []


@pytest.mark.parametrize("overrides", [[], ["method=axpo"], ["method=vgpo", "stack=cpu", "task=toy"]], ids=" ".join)
def test_shipped_configuration_has_no_unknown_setting(overrides):
    config = compose_config(*overrides)
    assert unknown(config) == []
    OmegaConf.resolve(config)
    assert unknown(config) == [], "verl writes some of its nodes as interpolations"


def nodes(tree: dict[str, Any], path: str = "") -> list[str]:
    inside = [(f"{path}{name}", below) for name, below in tree.items() if isinstance(below, dict) and below]
    return [found for name, below in inside for found in (name, *nodes(below, f"{name}."))]


def test_any_misspelt_name_is_found_at_every_node_of_verl():
    """A name that no setting has is found at each node that verl reads and in no place for free settings."""
    with initialize_config_module("verl.trainer.config", version_base=None):
        stock = compose("ppo_trainer")
    OmegaConf.set_struct(stock, False)
    assert unknown(stock) == [], "the generated configurations are not those of verl"
    plain = OmegaConf.to_container(stock, resolve=False)
    free = lambda path: any(path == node or path.startswith(f"{node}.") for node in FREE)
    checked = [path for path in nodes(plain) if not free(path)]
    for path in checked:
        OmegaConf.update(stock, f"{path}.zzqx", 1, force_add=True)
    assert sorted(unknown(stock)) == sorted(f"{path}.zzqx" for path in checked)


def test_unlisted_settings_are_read_by_verl_and_listed_nowhere():
    for path, names in UNLISTED.items():
        node: Any = verl_settings()
        for part in filter(None, path.split(".")):
            node = node.get(part) or {}
        for name in names:
            assert name not in node, f"{path}.{name} is listed"
            assert path == "" or readers(VERL, f"{path}.{name}", whole=False), f"nothing reads {path}.{name}"
