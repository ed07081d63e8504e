# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The table of settings that have no effect, with the condition, and what to do instead.

A setting is listed where nothing that such a run calls reads it. It stops the run if its value asks for other rollouts,
rewards or weights. It is a warning if its value asks for less time or memory or for other logs, or if it belongs to a
part that the run has switched off. tests/training/test_dead_settings_code.py compares the table with the code of the
installed verl and of this package.
"""

from __future__ import annotations

from verl_mapo import names
from verl_mapo.training.dead_settings import DeadSettings, given
from verl_mapo.training.dead_settings_conditions import (
    ACTOR,
    CLIPPED,
    CORRECTION,
    CRITIC,
    ESTIMATOR,
    FILTER_GROUPS,
    FSDP,
    KL_CONTROL,
    LOOP,
    MODEL,
    MODEL_SCORES,
    MULTI_TURN,
    NO_FUNCTION,
    NO_KL_LOSS,
    NO_KL_REWARD,
    NOWHERE,
    REF,
    REWARD,
    ROLLOUT,
    SAMPLER,
    V1,
)
from verl_mapo.training.dead_settings_off import OFF
from verl_mapo.training.dead_settings_own import OWN

_GREEDY = given(f"{ROLLOUT}.val_kwargs.temperature", 0, None)
_REGISTERED = given(names.REWARD_MANAGER_SOURCE, "register")
_MANAGER = "reward.reward_manager"

_REMOVE = "remove it"
_NEW_REWARD_NODE = "set it below reward, for example reward.custom_reward_function.path or reward.reward_model.enable"
_LORA = (
    f"it is for Megatron; set lora_rank, lora_alpha, target_modules, exclude_modules or lora_adapter_path in {MODEL}"
)

TABLE = (
    # The agent loop of this package
    DeadSettings(
        MULTI_TURN,
        {"tool_config_path": None, "function_tool_path": None},
        LOOP,
        True,
        "list the tools, built-in names or dotted paths of your own, in visual_tool.tools",
    ),
    DeadSettings(
        "data",
        {name: f"${{{MULTI_TURN}.{name}}}" for name in ("tool_config_path", "function_tool_path")},
        LOOP,
        True,
        "list the tools in visual_tool.tools",
    ),
    DeadSettings(MULTI_TURN, {"max_user_turns": None}, LOOP, True, "limit the turns with max_assistant_turns"),
    DeadSettings(
        MULTI_TURN,
        {"max_parallel_calls": 1, "format": "hermes"},
        LOOP,
        True,
        "set how many calls a turn may have and how they are read with visual_tool.calls_per_turn and "
        "visual_tool.parsing",
    ),
    DeadSettings(
        MULTI_TURN,
        {"max_tool_response_length": 256, "tool_response_truncate_side": "middle"},
        LOOP,
        True,
        "limit the tokens of a tool's image with visual_tool.max_crop_pixels; its text is one line",
    ),
    DeadSettings(
        MULTI_TURN,
        {"enable": True},
        LOOP,
        True,
        f"for one turn without tools set {names.DEFAULT_AGENT_LOOP}=single_turn_agent, otherwise set it to true",
    ),
    # The rollout
    DeadSettings(MULTI_TURN, {"num_repeat_rollouts": None}, NOWHERE, True, f"set {names.ROLLOUT_N}"),
    DeadSettings(MULTI_TURN, {"use_inference_chat_template": False}, V1, True, _REMOVE),
    DeadSettings(MULTI_TURN, {"tokenization_sanity_check_mode": "strict"}, V1, False, _REMOVE),
    DeadSettings(ROLLOUT, {"over_sample_rate": 0}, NOWHERE, True, _REMOVE),
    DeadSettings(ROLLOUT, {"multi_stage_wake_up": False}, NOWHERE, False, _REMOVE),
    DeadSettings(
        ROLLOUT, {"do_sample": True}, V1, True, f"set {ROLLOUT}.val_kwargs.temperature=0 for a greedy validation"
    ),
    DeadSettings(ROLLOUT, {"repetition_penalty": 1.0}, V1, True, "remove it; rollouts are sampled with 1.0"),
    DeadSettings(
        f"{ROLLOUT}.val_kwargs", {"do_sample": False}, _GREEDY, True, "set the temperature, for example to 1.0"
    ),
    DeadSettings(
        f"{ROLLOUT}.trace",
        {"backend": None, "token2text": False, "max_samples_per_step_per_worker": None},
        V1,
        False,
        "read the rollouts in trainer.rollout_data_dir or in the report",
    ),
    DeadSettings(f"{ROLLOUT}.agent.custom_async_server", {"path": None, "name": None}, NOWHERE, True, _REMOVE),
    # The reward
    DeadSettings("custom_reward_function", {"path": None, "name": None}, V1, True, _NEW_REWARD_NODE),
    DeadSettings(
        "reward_model",
        dict.fromkeys(
            "enable enable_resource_pool model.path n_gpus_per_node nnodes num_workers reward_kwargs reward_manager "
            "reward_loop_class_name reward_loop_module_path reward_loop_source rollout.name model.external_lib "
            "model.trust_remote_code rollout.tensor_model_parallel_size rollout.gpu_memory_utilization "
            "rollout.prompt_length rollout.response_length rollout.max_model_len rollout.dtype".split()
        ),
        V1,
        True,
        _NEW_REWARD_NODE,
    ),
    DeadSettings(
        "sandbox_fusion",
        {"url": None, "max_concurrent": None, "memory_limit_mb": None},
        V1,
        True,
        "set it below reward.sandbox_fusion",
    ),
    DeadSettings(
        "reward.sandbox_fusion",
        {"url": None, "max_concurrent": 64, "memory_limit_mb": 1024},
        REWARD,
        True,
        "call the sandbox in a function of yours, named in reward.custom_reward_function.path",
    ),
    DeadSettings(
        "reward",
        {"reward_kwargs": None},
        REWARD,
        True,
        "give arguments to a function of yours in reward.custom_reward_function.reward_kwargs",
    ),
    DeadSettings(
        "reward.custom_reward_function",
        {"name": "compute_score", "reward_kwargs": None},
        NO_FUNCTION,
        True,
        "set the path of the file that holds the function, too",
    ),
    DeadSettings(
        _MANAGER,
        {"module.path": None, "module.name": "custom_reward_manager"},
        _REGISTERED,
        True,
        "set reward.reward_manager.source=importlib for a manager in a file",
    ),
    DeadSettings(
        _MANAGER,
        {"name": "naive"},
        MODEL_SCORES,
        True,
        "set reward.custom_reward_function.path to a function that asks the reward model",
    ),
    # The data
    DeadSettings("data", {"reward_fn_key": "data_source"}, REWARD, True, "name the column data_source"),
    DeadSettings("data", {"tokenizer": None}, NOWHERE, True, f"set {MODEL}.tokenizer_path"),
    DeadSettings("data", {"trust_remote_code": False}, V1, False, f"set {MODEL}.trust_remote_code"),
    DeadSettings(
        "data",
        {"truncation": "error"},
        V1,
        True,
        "a long prompt with images is never cut; set data.filter_overlong_prompts=true to leave it out",
    ),
    DeadSettings(
        "data",
        {
            "return_raw_input_ids": False,
            "return_raw_chat": True,
            "return_full_prompt": False,
            "return_multi_modal_inputs": True,
        },
        NOWHERE,
        False,
        _REMOVE,
    ),
    # The estimator and the loss
    DeadSettings(
        "algorithm",
        {"gamma": 1.0, "lam": 1.0},
        ESTIMATOR,
        True,
        f"remove it; MAPO's discount over turns is {names.MAPO_NODE}.discount",
    ),
    DeadSettings(
        "algorithm",
        {"use_pf_ppo": False, "pf_ppo.reweight_method": "pow", "pf_ppo.weight_pow": 2.0},
        V1,
        True,
        _REMOVE,
    ),
    DeadSettings(
        FILTER_GROUPS,
        {"max_num_gen_batches": 0},
        V1,
        False,
        "limit the time of the run instead, for example with verl-mapo train --timeout-h 24",
    ),
    DeadSettings(KL_CONTROL, {"kl_coef": 0.001}, NO_KL_REWARD, False, f"set {ACTOR}.use_kl_loss=true"),
    DeadSettings(ACTOR, {"kl_loss_coef": 0.001}, NO_KL_LOSS, False, f"set {ACTOR}.use_kl_loss=true"),
    DeadSettings(ACTOR, {"clip_ratio": 0.2}, CLIPPED, True, "set clip_ratio_low and clip_ratio_high"),
    DeadSettings(ACTOR, {"calculate_sum_pi_squared": False}, V1, True, _REMOVE),
    DeadSettings(ACTOR, {"optim.total_training_steps": -1}, V1, True, f"set {names.TOTAL_STEPS}"),
    DeadSettings(
        CORRECTION, {"loss_type": "ppo_clip"}, V1, True, f"choose the loss with {ACTOR}.policy_loss.loss_mode"
    ),
    DeadSettings(
        CORRECTION,
        {"rollout_is": None, "rollout_rs": None},
        given(names.BYPASS_MODE, True),
        True,
        f"set {names.BYPASS_MODE}=false",
    ),
    DeadSettings("critic", {"enable": None}, CRITIC, False, "set it to false"),
    # The engine
    DeadSettings(ACTOR, {"use_torch_compile": True}, NOWHERE, False, f"set {ACTOR}.fsdp_config.use_torch_compile"),
    DeadSettings(
        REF,
        {"use_torch_compile": f"${{{ACTOR}.use_torch_compile}}"},
        NOWHERE,
        False,
        "set actor_rollout_ref.ref.fsdp_config.use_torch_compile",
    ),
    DeadSettings(ACTOR, {"use_prefix_grouper": False}, V1, False, _REMOVE),
    DeadSettings(ACTOR, {"grad_clip": 1.0}, FSDP, True, f"set {ACTOR}.optim.clip_grad"),
    DeadSettings(
        ACTOR,
        {"qat.enable": False, "qat.mode": "w4a16", "qat.group_size": 16, "qat.quantization_config_path": None},
        FSDP,
        True,
        f"set it in {ACTOR}.fsdp_config.qat",
    ),
    DeadSettings(
        ACTOR,
        {"checkpoint.async_save": False},
        given(f"{ACTOR}.strategy", *names.ENGINES),
        True,
        "remove it, because verl then marks no checkpoint as the latest, and the run could not be resumed",
    ),
    DeadSettings(ACTOR, {"checkpoint.strict": True}, FSDP, False, _REMOVE),
    DeadSettings(
        ACTOR,
        {name: f"${{{MODEL}.{name}}}" for name in ("use_fused_kernels", "use_remove_padding")},
        FSDP,
        False,
        f"set it in {MODEL}",
    ),
    DeadSettings(
        f"{MODEL}.lora",
        {
            "rank": 0,
            "alpha": 32,
            "dropout": 0.0,
            "type": "lora",
            "target_modules": ["linear_qkv", "linear_proj", "linear_fc1", "linear_fc2"],
            "exclude_modules": [],
            "adapter_path": None,
            "freeze_vision_model": True,
            "freeze_vision_projection": True,
            "freeze_language_model": True,
            "dropout_position": "pre",
            "lora_A_init_method": "xavier",
            "lora_B_init_method": "zero",
            "a2a_experimental": False,
            "dtype": None,
        },
        FSDP,
        True,
        _LORA,
    ),
    DeadSettings(MODEL, {"tiled_mlp.enabled": False, "tiled_mlp.num_shards": 4}, NOWHERE, False, _REMOVE),
    DeadSettings(
        MODEL,
        {"lora_adapter_path": None},
        given(f"{MODEL}.lora_rank", 0),
        True,
        f"set {MODEL}.lora_rank to the rank of the adapter, for example 64",
    ),
    DeadSettings("actor_rollout_ref", {"nccl_timeout": 600}, NOWHERE, False, _REMOVE),
    # The trainer
    DeadSettings(
        "trainer",
        {"balance_batch": True, "esi_redundant_time": 0, "ray_wait_register_center_timeout": 300},
        V1,
        False,
        _REMOVE,
    ),
    DeadSettings(
        "trainer",
        {"resume_from_path": None},
        given(names.RESUME_MODE, "auto", "disable"),
        True,
        "set trainer.resume_mode=resume_path",
    ),
    DeadSettings(
        "trainer",
        {"val_only": False},
        given("trainer.val_before_train", False),
        True,
        "set trainer.val_before_train=true",
    ),
    *(
        DeadSettings(
            SAMPLER,
            {f"custom_sampler.{part}": None},
            given(f"{SAMPLER}.custom_sampler.{missing}", None),
            True,
            f"set {SAMPLER}.custom_sampler.{missing}, too",
        )
        for part, missing in (("path", "name"), ("name", "path"))
    ),
    *OFF,
    *OWN,
)
"""Every setting that is known to have no effect, by the part of a run that a reader would expect to read it."""
