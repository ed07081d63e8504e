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
        ("actor_rollout_ref.actor.checkpoint.contents", "actor_rollout_ref.actor.checkpoint.save_contents"),
        ("actor_rollout_ref.actor.optim.learning_rate", "actor_rollout_ref.actor.optim.lr"),
    ],
)
def test_misspelt_setting_is_refused_with_the_right_one(path, meant):
    with pytest.raises(ConfigError) as error:
        check_config(with_setting(path))
    assert f" is not a setting; did you mean {meant}?" in str(error.value)


HINTS = """
actor_rollout_ref.attn_implementation                actor_rollout_ref.model.override_config.attn_implementation
actor_rollout_ref.lr                                 actor_rollout_ref.actor.optim.lr
actor_rollout_ref.max_model_len                      actor_rollout_ref.rollout.max_model_len
actor_rollout_ref.n                                  actor_rollout_ref.rollout.n
actor_rollout_ref.optim.lr                           actor_rollout_ref.actor.optim
actor_rollout_ref.temperature                        actor_rollout_ref.rollout.temperature
actor_rollout_ref.model.attn_implementation          actor_rollout_ref.model.override_config.attn_implementation
actor_rollout_ref.model.attn_impl                    actor_rollout_ref.model.override_config.attn_implementation
actor_rollout_ref.model.chat_template                actor_rollout_ref.model.custom_chat_template
actor_rollout_ref.model.dtype                        actor_rollout_ref.rollout.dtype
actor_rollout_ref.model.gradient_checkpointing       actor_rollout_ref.model.enable_gradient_checkpointing
actor_rollout_ref.model.lora_r                       actor_rollout_ref.model.lora_rank
actor_rollout_ref.model.lora_target_modules          actor_rollout_ref.model.target_modules
actor_rollout_ref.model.max_pixels                   data.mm_processor_kwargs.max_pixels
actor_rollout_ref.model.model_path                   actor_rollout_ref.model.path
actor_rollout_ref.model.rank                         actor_rollout_ref.model.lora_rank
actor_rollout_ref.actor.attn_implementation          actor_rollout_ref.model.override_config.attn_implementation
actor_rollout_ref.actor.checkpoint.contents          actor_rollout_ref.actor.checkpoint.save_contents
actor_rollout_ref.actor.clip_range                   actor_rollout_ref.actor.clip_ratio_low
actor_rollout_ref.actor.contents                     actor_rollout_ref.actor.checkpoint.save_contents
actor_rollout_ref.actor.dtype                        actor_rollout_ref.actor.fsdp_config.dtype
actor_rollout_ref.actor.entropy_coef                 actor_rollout_ref.actor.entropy_coeff
actor_rollout_ref.actor.fsdp.param_offload           actor_rollout_ref.actor.fsdp_config
actor_rollout_ref.actor.fsdp_config.cpu_offload      actor_rollout_ref.actor.fsdp_config.param_offload
actor_rollout_ref.actor.gradient_checkpointing       actor_rollout_ref.model.enable_gradient_checkpointing
actor_rollout_ref.actor.kl_coef                      actor_rollout_ref.actor.kl_loss_coef
actor_rollout_ref.actor.max_grad_norm                actor_rollout_ref.actor.optim.clip_grad
actor_rollout_ref.actor.max_response_length          data.max_response_length
actor_rollout_ref.actor.micro_batch_size_per_gpu     actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu
actor_rollout_ref.actor.mini_batch_size              actor_rollout_ref.actor.ppo_mini_batch_size
actor_rollout_ref.actor.optim.scheduler              actor_rollout_ref.actor.optim.lr_scheduler_type
actor_rollout_ref.actor.optim.warmup_ratio           actor_rollout_ref.actor.optim.lr_warmup_steps_ratio
actor_rollout_ref.actor.optimizer_offload            actor_rollout_ref.actor.fsdp_config.optimizer_offload
actor_rollout_ref.actor.param_offload                actor_rollout_ref.actor.fsdp_config.param_offload
actor_rollout_ref.actor.sp_size                      actor_rollout_ref.actor.ulysses_sequence_parallel_size
actor_rollout_ref.actor.tensor_model_parallel_size   actor_rollout_ref.rollout.tensor_model_parallel_size
actor_rollout_ref.actor.use_dynamic_batch_size       actor_rollout_ref.actor.use_dynamic_bsz
actor_rollout_ref.actor.weight_decay                 actor_rollout_ref.actor.optim.weight_decay
actor_rollout_ref.ref.micro_batch_size_per_gpu       actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu
actor_rollout_ref.rollout.agent_loop                 actor_rollout_ref.rollout.agent.default_agent_loop
actor_rollout_ref.rollout.default_agent_loop         actor_rollout_ref.rollout.agent.default_agent_loop
actor_rollout_ref.rollout.gpu_mem_util               actor_rollout_ref.rollout.gpu_memory_utilization
actor_rollout_ref.rollout.limit_mm_per_prompt        actor_rollout_ref.rollout.engine_kwargs.vllm.limit_mm_per_prompt
actor_rollout_ref.rollout.max_model_length           actor_rollout_ref.rollout.max_model_len
actor_rollout_ref.rollout.max_new_tokens             data.max_response_length
actor_rollout_ref.rollout.max_num_sequences          actor_rollout_ref.rollout.max_num_seqs
actor_rollout_ref.rollout.max_prompt_length          data.max_prompt_length
actor_rollout_ref.rollout.max_response_length        data.max_response_length
actor_rollout_ref.rollout.max_turns                  actor_rollout_ref.rollout.multi_turn.max_assistant_turns
actor_rollout_ref.rollout.mm_processor_cache_gb      actor_rollout_ref.rollout.engine_kwargs.vllm.mm_processor_cache_gb
actor_rollout_ref.rollout.num_generations            actor_rollout_ref.rollout.n
actor_rollout_ref.rollout.num_workers                actor_rollout_ref.rollout.agent.num_workers
actor_rollout_ref.rollout.tensor_parallel_size       actor_rollout_ref.rollout.tensor_model_parallel_size
actor_rollout_ref.rollout.tools                      visual_tool.tools
data.batch_size                                      data.train_batch_size
data.enable_thinking                                 data.apply_chat_template_kwargs.enable_thinking
data.image_column                                    data.image_key
data.max_length                                      data.max_prompt_length
data.maxPixels                                       data.mm_processor_kwargs.max_pixels
data.mm_kwargs                                       data.mm_processor_kwargs
data.num_workers                                     data.dataloader_num_workers
data.prompt_length                                   data.max_prompt_length
data.response_length                                 data.max_response_length
data.train_data                                      data.train_files
trainer.epochs                                       trainer.total_epochs
trainer.eval_steps                                   trainer.test_freq
trainer.gpus_per_node                                trainer.n_gpus_per_node
trainer.learning_rate                                actor_rollout_ref.actor.optim.lr
trainer.lr                                           actor_rollout_ref.actor.optim.lr
trainer.max_ckpt_to_keep                             trainer.max_actor_ckpt_to_keep
trainer.max_steps                                    trainer.total_training_steps
trainer.output_dir                                   trainer.default_local_dir
trainer.project                                      trainer.project_name
trainer.run_name                                     trainer.experiment_name
trainer.save_steps                                   trainer.save_freq
trainer.train_batch_size                             data.train_batch_size
trainer.trainer_mode                                 trainer.v1.trainer_mode
algorithm.advantage_estimator                        algorithm.adv_estimator
algorithm.beta                                       algorithm.mapo.beta
algorithm.kl_loss_coef                               actor_rollout_ref.actor.kl_loss_coef
algorithm.norm_adv_by_std                            algorithm.norm_adv_by_std_in_grpo
reward.custom_reward.path                            reward.custom_reward_function
reward.function_path                                 reward.custom_reward_function.path
reward.outcome                                       reward.description_alignment.outcome
reward.reward_manager_name                           reward.reward_manager.name
max_crop_pixels                                      visual_tool.max_crop_pixels
ray_init.num_cpus                                    ray_kwargs.ray_init
"""
"""A mistake, and the setting that a user would want to be told of, in each line."""


@cache
def hints() -> dict[str, str]:
    config = compose_config()
    OmegaConf.set_struct(config, False)
    for line in HINTS.split("\n")[1:-1]:
        OmegaConf.update(config, line.split()[0], 1, force_add=True)
    return {setting.path: setting.meant for setting in unknown_settings(config, _own_nodes(config))}


@pytest.mark.parametrize("line", HINTS.split("\n")[1:-1], ids=lambda line: line.split()[0])
def test_hint_is_the_setting_that_a_user_would_want(line):
    given, wanted = line.split()
    found = [meant for path, meant in hints().items() if f"{given}.".startswith(f"{path}.")]
    assert found == [wanted]


@pytest.mark.parametrize("part", ["profiler", "megatron", "veomni", "torchtitan", "qat", "turbo_config", "moe"])
def test_no_hint_leads_to_a_part_that_the_run_does_not_use(part):
    assert not [meant for meant in hints().values() if part in meant]


def test_name_like_no_other_has_no_hint():
    paths = ["zeta", "x.y", "actor_rollout_ref.x", "data.my_column", "algorithm.zeta", "trainer.my_flag"]
    config = with_setting("reward.zzqx")
    for path in paths:
        OmegaConf.update(config, path, 1, force_add=True)
    found = list(unknown_settings(config, _own_nodes(config)))
    assert len(found) == 7 and not any(setting.meant for setting in found)


def test_switched_off_part_is_offered_below_itself_only():
    for path, meant in (("critic.learning_rate", "critic.optim.lr"), ("critic.model.rank", "critic.model.lora_rank")):
        (found,) = unknown_settings(with_setting(path), _own_nodes(base()))
        assert found.meant == meant
    (found,) = unknown_settings(with_setting("actor_rollout_ref.actor.cliprange_value"), _own_nodes(base()))
    assert "critic" not in found.meant


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
