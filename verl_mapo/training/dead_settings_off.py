# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of parts of verl that a run has switched off. None of them stops a run.

A switch is often one axis of a sweep, whose other settings stay in the command line.
"""

from __future__ import annotations

from verl_mapo import names
from verl_mapo.training.dead_settings import given, off
from verl_mapo.training.dead_settings_conditions import (
    ACTOR,
    CONSTANT_RATE,
    CORRECTION,
    FILTER_GROUPS,
    KL_CONTROL,
    KL_IN_REWARD,
    LOSS,
    MODEL,
    NO_CRITIC,
    NO_LORA,
    NO_REFERENCE,
    NO_SAMPLER,
    ON_POLICY,
    REF,
    REWARD_MODEL,
    ROLLOUT,
    SAMPLER,
    WARMED_UP,
    no_loss_of,
    no_mode_of,
)

_V1 = "trainer.v1"

OFF = (
    # The model
    off(
        MODEL,
        {"lora_alpha": 16, "target_modules": "all-linear", "exclude_modules": None},
        given(f"{MODEL}.lora_rank", 0),
        f"set {MODEL}.lora_rank, for example to 64",
    ),
    off(MODEL, {"lora.merge": False}, NO_LORA, f"set {MODEL}.lora_rank, for example to 64"),
    off(ROLLOUT, {"layered_summon": False}, given(f"{MODEL}.lora_rank", 0), f"set {MODEL}.lora_rank"),
    off(
        MODEL,
        {
            "mtp.enable_train": False,
            "mtp.enable_rollout": False,
            "mtp.detach_encoder": False,
            "mtp.mtp_loss_scaling_factor": 0.1,
            "mtp.num_speculative_tokens": 1,
        },
        given(f"{MODEL}.mtp.enable", False),
        f"set {MODEL}.mtp.enable=true",
    ),
    off(
        MODEL,
        {"fused_kernel_options.impl_backend": "torch"},
        given(f"{MODEL}.use_fused_kernels", False),
        f"set {MODEL}.use_fused_kernels=true",
    ),
    # The rollout and the data
    *(
        off(
            node,
            {"top_k": -1, "top_p": 1.0},
            given(f"{node}.temperature", 0),
            f"set {node}.temperature, for example to 1.0",
        )
        for node in (ROLLOUT, f"{ROLLOUT}.val_kwargs")
    ),
    off(
        f"{ROLLOUT}.disaggregation",
        {"prefill_replicas": 1, "decode_replicas": 1, "transfer_backend": "nixl"},
        given(f"{ROLLOUT}.disaggregation.enabled", False),
        f"set {ROLLOUT}.disaggregation.enabled=true",
    ),
    off(ROLLOUT, {"cudagraph_capture_sizes": None}, given(f"{ROLLOUT}.enforce_eager", True), "set enforce_eager=false"),
    off(
        ROLLOUT,
        {"quantization_config_file": None},
        given(f"{ROLLOUT}.quantization", None),
        f"set {ROLLOUT}.quantization",
    ),
    off(
        ROLLOUT,
        {"skip_tokenizer_init": True, "engine_kwargs.sglang": {}, "engine_kwargs.trtllm": {}},
        given(f"{ROLLOUT}.name", "vllm"),
        f"set {ROLLOUT}.engine_kwargs.vllm",
    ),
    off(
        ROLLOUT,
        {"moe_load_balance_metrics_interval": 0},
        given(f"{ROLLOUT}.enable_rollout_routing_replay", False),
        f"set {ROLLOUT}.enable_rollout_routing_replay=true",
    ),
    off(
        f"{ROLLOUT}.prometheus",
        {"port": 9090, "file": "/tmp/ray/session_latest/metrics/prometheus/prometheus.yml"},
        given(f"{ROLLOUT}.prometheus.enable", False),
        f"set {ROLLOUT}.prometheus.enable=true",
    ),
    off(
        "data",
        {"filter_overlong_prompts_workers": 1},
        given("data.filter_overlong_prompts", False),
        "set data.filter_overlong_prompts=true",
    ),
    # The loss
    off(ACTOR, {"kl_loss_type": "low_var_kl"}, given(f"{ACTOR}.use_kl_loss", False), f"set {ACTOR}.use_kl_loss=true"),
    off(
        "algorithm",
        {"kl_penalty": "kl", "kl_ctrl.type": "fixed", "kl_ctrl.horizon": 10000, "kl_ctrl.target_kl": 0.1},
        given(KL_IN_REWARD, False),
        f"set {ACTOR}.use_kl_loss=true, whose kind is {ACTOR}.kl_loss_type",
    ),
    off(
        KL_CONTROL,
        {"horizon": 10000, "target_kl": 0.1},
        given(f"{KL_CONTROL}.type", "fixed"),
        f"set {KL_CONTROL}.type=adaptive",
    ),
    *(
        off(node, values, no_loss_of(*modes), f"set {LOSS}.loss_mode={modes[0]}")
        for node, values, modes in (
            (LOSS, {"clip_cov_ratio": 0.0002, "clip_cov_lb": 1.0, "clip_cov_ub": 5.0}, ("clip_cov",)),
            (LOSS, {"kl_cov_ratio": 0.0002, "ppo_kl_coef": 0.1}, ("kl_cov",)),
            (LOSS, {"dro_beta": None}, ("dro",)),
            (ACTOR, {"tau_pos": 1.0, "tau_neg": 1.05}, ("sapo",)),
            (ACTOR, {"clip_ratio_c": 3.0}, ("vanilla", "dppo_tv", "dppo_kl")),
            (
                ACTOR,
                {"clip_ratio_low": 0.2, "clip_ratio_high": 0.2},
                ("vanilla", "dppo_tv", "dppo_kl", "gspo", "clip_cov", "geo_mean", "cispo"),
            ),
        )
    ),
    off(
        ACTOR,
        {"loss_scale_factor": None},
        given(f"{ACTOR}.loss_agg_mode", "token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean"),
        f"set {ACTOR}.loss_agg_mode=seq-mean-token-sum-norm",
    ),
    off(
        FILTER_GROUPS,
        {"metric": "reward", "max_inflight_gen_batches": 1},
        given(f"{FILTER_GROUPS}.enable", False),
        f"set {FILTER_GROUPS}.enable=true",
    ),
    off(
        CORRECTION,
        {"rollout_is_threshold": 2.0, "rollout_is_batch_normalize": False},
        given(f"{CORRECTION}.rollout_is", None),
        f"set {CORRECTION}.rollout_is=token",
    ),
    off(
        CORRECTION,
        {"rollout_rs_threshold": None},
        given(f"{CORRECTION}.rollout_rs", None),
        f"set {CORRECTION}.rollout_rs=token_k1",
    ),
    # The engine and the optimizer
    *(
        off(
            f"{ACTOR}.fsdp_config",
            values,
            given(f"{ACTOR}.fsdp_config.{switch}", False, words=f"with {switch}=false there"),
            f"set {switch}=true there",
        )
        for switch, values in (
            ("full_determinism", {"seed": 42}),
            ("entropy_from_logits_with_chunking", {"entropy_from_logits_chunk_size": 2048}),
            ("pad_to_length", {"pad_to_length_bucket": 1024}),
            ("qat.enable", {"qat.mode": "w4a16", "qat.group_size": 16, "qat.quantization_config_path": None}),
        )
    ),
    off(
        f"{ACTOR}.fsdp_config",
        {"use_orig_params": False, "wrap_policy.min_num_params": 0},
        given(f"{ACTOR}.strategy", "fsdp2"),
        "remove it; it is for strategy=fsdp",
    ),
    off(
        f"{ACTOR}.fsdp_config",
        {"offload_policy": False},
        given(f"{ACTOR}.strategy", "fsdp"),
        f"set {ACTOR}.strategy=fsdp2",
    ),
    off(
        ACTOR,
        {"ppo_max_token_len_per_gpu": 16384},
        given(f"{ACTOR}.use_dynamic_bsz", False),
        f"set {ACTOR}.use_dynamic_bsz=true",
    ),
    off(ACTOR, {"data_loader_seed": 42}, given(f"{ACTOR}.shuffle", False), f"set {ACTOR}.shuffle=true"),
    off(f"{ACTOR}.optim", {"lr_warmup_steps_ratio": 0.0}, WARMED_UP, "set only one of the two"),
    off(
        f"{ACTOR}.optim",
        {"min_lr_ratio": 0.0, "num_cycles": 0.5, "zero_indexed_step": True},
        CONSTANT_RATE,
        f"set {ACTOR}.optim.lr_scheduler_type=cosine",
    ),
    off(REF, {"fsdp_config.param_offload": False}, NO_REFERENCE, f"set {ACTOR}.use_kl_loss=true"),
    # Other models
    off(
        "critic",
        {
            "optim.lr": 1e-5,
            "optim.weight_decay": 0.01,
            "model.path": "~/models/deepseek-llm-7b-chat",
            "cliprange_value": 0.5,
            "ppo_epochs": f"${{{ACTOR}.ppo_epochs}}",
            "ppo_mini_batch_size": f"${{{ACTOR}.ppo_mini_batch_size}}",
            "ppo_micro_batch_size_per_gpu": None,
            "ppo_max_token_len_per_gpu": 32768,
            "fsdp.param_offload": False,
            "fsdp.optimizer_offload": False,
        },
        NO_CRITIC,
        "remove it",
    ),
    off("trainer", {"max_critic_ckpt_to_keep": None}, NO_CRITIC, "set trainer.max_actor_ckpt_to_keep"),
    off(
        REWARD_MODEL,
        {"enable_resource_pool": False, "n_gpus_per_node": 8, "nnodes": 0, "model_path": None},
        given(f"{REWARD_MODEL}.enable", False),
        f"set {REWARD_MODEL}.enable=true",
    ),
    off(
        "distillation",
        {
            "n_gpus_per_node": 8,
            "nnodes": 0,
            "distillation_loss.loss_mode": "k3",
            "distillation_loss.distillation_loss_coef": 1.0,
            "distillation_loss.use_task_rewards": True,
            "distillation_loss.use_policy_gradient": False,
            "teacher_models.teacher_model.model_path": None,
        },
        given("distillation.enabled", False),
        "set distillation.enabled=true",
    ),
    # The trainer
    *(
        off(f"{_V1}.{mode}", values, no_mode_of(mode), f"set {names.TRAINER_MODE}={mode}")
        for mode, values in (
            ("colocate_async", {"num_warmup_batches": 1}),
            (
                "separate_async",
                {"num_warmup_batches": 1, "parameter_sync_step": 4, "hybrid_rollout.enable_switch": False},
            ),
        )
    ),
    off(
        f"{_V1}.separate_async.hybrid_rollout",
        {
            "switch_threshold_ratio": 0.4,
            "adaptive_switch_threshold": True,
            "switch_threshold_step_up": 0.05,
            "switch_threshold_step_down": 0.03,
            "switch_threshold_release_steps": 2,
            "switch_cost_window_size": 3,
        },
        given(f"{_V1}.separate_async.hybrid_rollout.enable_switch", False),
        "set enable_switch=true there",
    ),
    off(
        SAMPLER,
        {"max_off_policy_threshold": 8, "max_off_policy_strategy": "drop"},
        ON_POLICY,
        f"set {names.TRAINER_MODE}=colocate_async",
    ),
    off(SAMPLER, {"sampler_kwargs": {}}, NO_SAMPLER, f"set {SAMPLER}.custom_sampler.path and name"),
)
"""The settings of parts of verl that are switched off, with the values at which nothing is said."""
