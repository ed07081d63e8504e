# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Every symbol of verl, and of vLLM where the CPU platform replaces it, that this package uses.

verl promises no stable interface below its configuration, so check a new version of verl against this list:
``verl-mapo doctor`` looks up each symbol in the installed verl. tests/test_verl_symbols.py compares the list with the
code of this package.

A path may end in a field of a class or in an attribute that the methods of the class assign to ``self``.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from functools import cache


def _members(owner: str, names: str) -> tuple[str, ...]:
    return tuple(f"{owner}.{name}" for name in names.split())


_AGENT_LOOP = "verl.experimental.agent_loop.agent_loop"
_TQ = "verl.trainer.ppo.v1.agent_loop_tq"
_ENGINE = "verl.workers.engine.fsdp.transformer_impl"

CPU_PLATFORM = "CPU platform"
"""The area whose modules can be imported only where ``VERL_PLATFORM=cpu``."""

BY_NAME = "attributes of objects that verl creates"
"""The area of members of objects that verl creates; the code of this package does not name their classes."""

VERL_SYMBOLS: dict[str, tuple[str, ...]] = {
    "launcher": (
        "verl.trainer.main_ppo",
        *_members("verl.trainer.main_ppo", "main run_ppo"),
        "verl.utils.config.omega_conf_to_dataclass",
    ),
    "settings": ("verl.trainer.config", *_members("verl.utils.model", "check_exclude_modules check_target_modules")),
    "trainer": (
        "verl.trainer.ppo.v1.PPOTrainer",
        "verl.trainer.ppo.v1.trainer_base.TRAINER_REGISTRY",
        *_members(
            "verl.trainer.ppo.v1.trainer_base.PPOTrainer",
            "_balance_batch _compute_advantage _compute_metrics _compute_old_log_prob _dump_futures "
            "_get_required_batch_multiple _init_dataloader _init_tokenizer _load_checkpoint _log_rollout_data "
            "_save_checkpoint _shutdown_dump_executor _step_once _update_actor _validate actor_rollout_wg "
            "checkpoint_callback config global_steps init logger on_step_begin parameter_sync_step processor "
            "replay_buffer tokenizer train_dataset use_reference_policy val_dataset",
        ),
        "verl.utils.checkpoint.checkpoint_manager.find_latest_ckpt_path",
        "verl.utils.checkpoint.checkpoint_manager.get_checkpoint_tracker_filename",
        "verl.workers.utils.padding.response_from_nested",
        "verl.workers.utils.padding.response_to_nested",
    ),
    "advantage estimators": _members(
        "verl.trainer.ppo.core_algos",
        "ADV_ESTIMATOR_REGISTRY AdvantageEstimator POLICY_LOSS_REGISTRY register_adv_est",
    ),
    "engine": (
        "verl.workers.engine.base.EngineRegistry._engines",
        "verl.workers.engine.base.EngineRegistry.register",
        *_members(
            f"{_ENGINE}.FSDPEngine",
            "_build_fsdp_module _build_optimizer _gather_and_unpad_packed engine_config module optimizer_config rank "
            "save_checkpoint ulysses_sequence_parallel_size use_ulysses_sp",
        ),
        f"{_ENGINE}.FSDPEngineWithLMHead.forward_step",
        "verl.utils.tensordict_utils.get_non_tensor_data",
        "verl.utils.ulysses.get_ulysses_sequence_parallel_group",
        "verl.utils.ulysses.get_ulysses_sequence_parallel_rank",
    ),
    "changed views": (
        "verl.trainer.ppo.core_algos.agg_loss",
        *_members(
            "verl.utils.tensordict_utils",
            "assign_non_tensor index_select_tensor_dict nested_tensor_from_tensor_list",
        ),
        *_members("verl.utils.metric", "AggregationType.SUM Metric"),
        "verl.workers.utils.padding.no_padding_2_padding",
    ),
    "frozen vision tower": (
        *_members("verl.workers.config.actor.FSDPActorConfig", "__post_init__ engine freeze_vision_tower"),
        "verl.workers.config.engine.FSDPEngineConfig",
        "verl.workers.config.optimizer.build_optimizer",
    ),
    "supervised training": (
        "verl.trainer.sft_trainer",
        f"{_AGENT_LOOP}.DictConfigWrap",
        *_members(
            "verl.utils.checkpoint.checkpoint_handler.CheckpointHandler",
            "_load_dataloader_state resume_global_step train_dataloader",
        ),
    ),
    "rows without images": (
        "verl.models.transformers.qwen2_vl._get_input_embeds",
        "verl.utils.transformers_compat.unpack_visual_output",
    ),
    "rows of one length": (
        *_members("verl.utils.tensordict_utils", "maybe_fix_3d_position_ids nested_tensor_from_tensor_list"),
        "verl.workers.engine.base.maybe_fix_3d_position_ids",
        "verl.workers.engine_workers.maybe_fix_3d_position_ids",
    ),
    "packed rows of linear attention": ("verl.models.transformers.qwen3_5._call_accepts_kwarg",),
    "agent loop": (
        *_members(_AGENT_LOOP, "AgentLoopMetrics _agent_loop_registry register"),
        *_members(
            f"{_AGENT_LOOP}.AgentLoopBase",
            "config continuous_token_builder ct_merge_context_msg data_config processor rollout_config run "
            "server_manager tokenizer",
        ),
        *_members(f"{_AGENT_LOOP}.AgentLoopOutput", "as_dict extra_fields response_mask"),
        "verl.utils.profiler.simple_timer",
    ),
    "image features": (
        "verl.utils.tokenizer.build_multimodal_processor_inputs",
        "verl.utils.torch_dtypes.PrecisionType.to_dtype",
    ),
    "rows": (
        "verl.utils.tokenizer.continuous_token_wiring.create_continuous_token_builder",
        *_members(
            "verl.utils.dataset.rl_dataset.RLHFDataset",
            "_build_messages _process_multi_modal_info apply_chat_template_kwargs audio_key cache_dir config "
            "filter_overlong_prompts image_key image_patch_size max_prompt_length maybe_filter_out_long_prompts "
            "mm_processor_kwargs num_workers processor prompt_key tokenizer video_key",
        ),
        "verl.trainer.ppo.utils.create_rl_dataset",
        "verl.utils.tokenizer.build_multimodal_processor_inputs",
    ),
    "agent-loop workers and manager": (
        *_members(
            f"{_AGENT_LOOP}.AgentLoopManager",
            "_init_agent_loop_workers agent_loop_workers config rollout_config",
        ),
        *_members(
            f"{_AGENT_LOOP}.AgentLoopWorker", "_compute_multi_modal_inputs _compute_position_ids config tokenizer"
        ),
        *_members(f"{_TQ}.AgentLoopManagerTQ", "agent_loop_workers_class generate_sequences"),
        *_members(
            f"{_TQ}.AgentLoopWorkerTQ.__ray_metadata__.modified_class",
            "_agent_loop_postprocess _run_agent_loop _run_prompt",
        ),
    ),
    "reward manager": (
        "verl.experimental.reward_loop.reward_manager.register",
        "verl.experimental.reward_loop.reward_manager.registry.REWARD_MANAGER",
        "verl.experimental.reward_loop.reward_manager.base.RewardManagerBase.run_single",
        "verl.trainer.ppo.reward.get_custom_reward_fn",
        "verl.DataProto",
        "verl.protocol.DataProtoItem.batch",
        "verl.protocol.DataProtoItem.non_tensor_batch",
    ),
    "platform": (
        *_members("verl.plugin.platform", "PlatformBase PlatformRegistry.get PlatformRegistry.register"),
        *_members(
            "verl.plugin.platform.platform_base.PlatformBase",
            "communication_backend_name cudart current_device device_count device_module device_name empty_cache "
            "get_device_capability is_available is_ipc_supported is_platform_available manual_seed manual_seed_all "
            "nvtx_range profiler_start profiler_stop ray_noset_envvars ray_resource_name set_allocator_settings "
            "set_device synchronize vendor_name visible_devices_envvar",
        ),
    ),
    CPU_PLATFORM: (
        "verl.utils.distributed.initialize_global_process_group",
        "verl.utils.distributed.initialize_global_process_group_ray",
        "verl.utils.experimental.torch_functional",
        *_members("verl.utils.experimental.torch_functional", "FusedLinearForPPO FusedLinearForPPOFunction"),
        *_members(_ENGINE, "CPUOffloadPolicy EngineRegistry.register FSDPEngineWithLMHead FSDPEngineWithValueHead"),
        *_members(
            "verl.workers.rollout.vllm_rollout.bucketed_weight_transfer",
            "BucketedWeightReceiver BucketedWeightSender",
        ),
        "vllm.model_executor.layers.utils.dispatch_cpu_unquantized_gemm",
        *_members("vllm.v1.worker.gpu_model_runner.GPUModelRunner", "_bookkeeping_sync _sample"),
        *_members("vllm.v1.sample.ops.topk_topp_sampler.TopKTopPSampler", "forward_cpu forward_native"),
    ),
    BY_NAME: (
        "verl.single_controller.base.worker_group.WorkerGroup._dispatch_info",
        "verl.trainer.ppo.checkpoint_callback.CheckpointCallback.on_save",
        "verl.trainer.ppo.v1.replay_buffer.ReplayBuffer.sample",
        "verl.utils.dataset.rl_dataset.RLHFDataset.dataframe",
        *_members(
            "verl.utils.tokenizer.continuous_token",
            "ContinuousTokenBuilder.align_response_metadata ContinuousTokenBuilder.build_initial_tokens "
            "ContinuousTokenBuilder.merge_assistant_tokens "
            "MergeResult.token_ids VLContinuousTokenMixin.mm_processor_kwargs",
        ),
        *_members(
            "verl.workers.config.rollout.RolloutConfig",
            "calculate_log_probs max_model_len multi_turn prompt_length response_length",
        ),
        "verl.workers.engine_workers.ActorRolloutRefWorker.update_actor",
        "verl.workers.rollout.llm_server.LLMServerClient.generate",
        *_members("verl.workers.rollout.replica.TokenOutput", "extra_fields log_probs num_preempted token_ids"),
    ),
}
"""Dotted paths by area. To list a member of a class or module is to list its owner as well."""


def has_symbol(path: str) -> bool:
    """Whether the installed packages have a symbol."""
    try:
        resolve(path)
    except (ImportError, AttributeError):
        return False
    return True


def resolve(path: str) -> object:
    """The object at a dotted path; None for a field or an instance attribute that has no value in the class.

    Raises:
        ImportError: the module cannot be imported.
        AttributeError: the module has no such attribute.
    """
    parts = path.split(".")
    found: object = importlib.import_module(parts[0])
    for number, part in enumerate(parts[1:], start=2):
        if inspect.ismodule(found) and not hasattr(found, part):
            found = importlib.import_module(".".join(parts[:number]))
        elif isinstance(found, type) and not hasattr(found, part) and part in instance_attributes(found):
            found = None
        else:
            found = getattr(found, part)
    return found


def instance_attributes(cls: type) -> set[str]:
    """Names of the fields of a class and its bases, and of the attributes that their methods assign to ``self``."""
    return set().union(*map(own_instance_attributes, cls.__mro__))


@cache
def own_instance_attributes(cls: type) -> frozenset[str]:
    """Like :func:`instance_attributes`, for a class without its bases."""
    fields = cls.__dict__.get("__annotations__", {})
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):  # a class that is not written in Python
        return frozenset(fields)
    assigned = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }
    return frozenset(assigned | set(fields))
