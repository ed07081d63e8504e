# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the engines of a run: that they are there, fit together, and can do what the methods need."""

from __future__ import annotations

import importlib.util
import logging
from itertools import product
from typing import Any

import torch
from omegaconf import DictConfig

from verl_mapo import names
from verl_mapo.settings import ConfigError, select
from verl_mapo.training.dead_settings_conditions import (
    ACTOR,
    MODEL,
    NO_CRITIC,
    REF,
    ROLLOUT,
    USE_CRITIC,
)
from verl_mapo.training.engine_table import (
    ROLLOUT_NAME,
    STRATEGY,
    TABLE,
    TENSOR_PARALLEL,
    sequence_parallel,
    training_nodes,
    uses_fsdp,
)
from verl_mapo.training.lora import check_adapters
from verl_mapo.training.methods import enabled_methods

logger = logging.getLogger(__name__)

ENGINE = "model_engine"

STRATEGIES = {
    "dp": ("fsdp2", "fsdp", "fsdp_turbo"),
    "megatron": ("megatron",),
    "veomni": ("veomni",),
    "torchtitan": ("torchtitan",),
}
"""``model_engine``, which chooses the settings that a run has, to the values of ``strategy`` that these are for."""

NODES = {"dp": "fsdp_config", "megatron": "megatron", "veomni": "veomni", "torchtitan": "torchtitan"}
"""``model_engine`` to the node of its settings in actor and reference."""

PACKAGES = {
    "megatron": ("megatron.core", "pip install 'verl[megatron]' megatron-core, or use model_engine=dp"),
    "veomni": ("veomni", "pip install veomni, or use model_engine=dp"),
    "fsdp_turbo": ("fsdp_turbo", f"use {STRATEGY}=fsdp2"),
    "vllm": ("vllm", "pip install 'verl[vllm]'"),
    "sglang": ("sglang", f"pip install 'verl[sglang]', or use {ROLLOUT_NAME}=vllm"),
    "trtllm": ("tensorrt_llm", f"pip install tensorrt_llm, or use {ROLLOUT_NAME}=vllm"),
}
"""An engine to the module that verl imports for it, and the way to get it."""

CRITIC_PACKAGES = {
    "flash_attn": "pip install flash-attn --no-build-isolation, which needs a GPU",
    "trl": "pip install trl",
}
"""The modules with which verl loads a critic, whatever the attention of the actor is, and the way to get each."""

LINEAR_ATTENTION, INSTALL_LINEAR_ATTENTION = "fla", "flash-linear-attention"
"""The module with the kernels of linear attention, and the name under which pip installs it."""

_ROLLOUT_DTYPE = f"{names.ROLLOUT}.dtype"


def check_engines(config: DictConfig) -> None:
    """Check that the engines of a run exist together and that its methods can work with them.

    Raises:
        ConfigError: with one sentence for every choice that is refused.
    """
    check_adapters(config)
    methods = [method.name for method in enabled_methods(config)] or [""]
    found = [(choice, choice.of(method), method) for choice in TABLE if choice.holds(config) for method in methods]
    sentences = dict.fromkeys(
        choice.sentence(config, verdict, method if choice.differs(method) else "")
        for choice, verdict, method in found
        if verdict.state == "refused"
    )
    if sentences:
        raise ConfigError(" ".join(sentences))
    _check_strategies(config)


def _check_strategies(config: DictConfig) -> None:
    """Check that the strategies fit the settings of the training engine that the run was composed with.

    Raises:
        ConfigError: verl would take one engine from ``strategy`` and the settings of another.
    """
    engine = select(config, ENGINE, "dp")
    known = STRATEGIES[engine]
    nodes = [ACTOR, REF, *(["critic"] if select(config, USE_CRITIC) else [])]
    for path in (f"{node}.strategy" for node in nodes):
        given = select(config, path)
        if given not in known:
            fitting = next((name for name, strategies in STRATEGIES.items() if given in strategies), None)
            other = f"{ENGINE}={fitting}, or " if fitting else ""
            raise ConfigError(
                f"{path}={given} is refused with {ENGINE}={engine}, whose settings the run has. Set {other}"
                f"{path}={' or '.join(known)}."
            )
    for node, (other, name) in product((ACTOR, REF), NODES.items()):
        if other != engine and select(config, f"{node}.{name}") is not None:
            raise ConfigError(
                f"{node}.{name} has settings of {ENGINE}={other}, but the run has {ENGINE}={engine}: remove them, and "
                f"set {node}.{NODES[engine]} instead."
            )


def check_packages(config: DictConfig) -> None:
    """Check that the packages of the engines are installed on this machine; verl misses them in its workers.

    Raises:
        ConfigError: naming the package.
    """
    for path in (STRATEGY, ROLLOUT_NAME):
        module, install = PACKAGES.get(value := select(config, path), ("", ""))
        if module and not _is_installed(module):
            raise ConfigError(f"{path}={value} needs the package {module}, which is not installed: {install}.")
    if NO_CRITIC.holds(config) or not uses_fsdp(config):
        return
    estimator = f"{names.ADV_ESTIMATOR}={select(config, names.ADV_ESTIMATOR)}"
    for module, install in CRITIC_PACKAGES.items():
        if not _is_installed(module):
            raise ConfigError(
                f"{estimator} with {USE_CRITIC}={select(config, USE_CRITIC)} trains a critic, which verl loads with "
                f"the package {module}, and that is not installed: {install}; or train without a critic, with "
                f"{names.ADV_ESTIMATOR}=grpo and {USE_CRITIC}=null."
            )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


def token_limits(config: DictConfig) -> dict[str, int]:
    """The passes of FSDP that cut a batch by its tokens: the setting of each to the longest sequence that it takes.

    verl's worker ends at the first longer one, which a run may meet after hours.
    """
    if not uses_fsdp(config):
        return {}
    nodes = [ROLLOUT, REF] if REF in training_nodes(config) else [ROLLOUT]
    limits = {f"{ACTOR}.use_dynamic_bsz": f"{ACTOR}.ppo_max_token_len_per_gpu"} | {
        f"{node}.log_prob_use_dynamic_bsz": f"{node}.log_prob_max_token_len_per_gpu" for node in nodes
    }
    given = [limit for switch, limit in limits.items() if select(config, switch)]
    return {limit: _sharing(config, limit) * select(config, limit, 0) for limit in given}


def _sharing(config: DictConfig, limit: str) -> int:
    """Number of GPUs that share a sequence in the pass that a limit is for; the actor also makes the log-prob pass."""
    return sequence_parallel(config, REF if limit.startswith(f"{REF}.") else ACTOR)


def check_micro_batches(config: DictConfig) -> None:
    """Check that the longest sequence fits a micro-batch, and that update and log-prob pass are cut in the same way.

    An evaluation has none of these passes.

    Raises:
        ConfigError: naming the settings.
    """
    if select(config, names.VAL_ONLY):
        return
    switches = [f"{ACTOR}.use_dynamic_bsz", f"{ROLLOUT}.log_prob_use_dynamic_bsz"]
    if len({bool(select(config, path)) for path in switches}) > 1:
        given = " and ".join(f"{path}={select(config, path)}" for path in switches)
        raise ConfigError(f"{given} are refused: verl needs them to be equal; leave out the second.")
    longest = config.data.max_prompt_length + config.data.max_response_length
    sentences = [
        f"{path}={select(config, path)} is refused: a rollout may have data.max_prompt_length + "
        f"data.max_response_length = {longest} tokens, and verl ends at the first that no micro-batch has room for; "
        f"set it to {-(-longest // _sharing(config, path))} or more."
        for path, limit in token_limits(config).items()
        if limit < longest
    ]
    if sentences:
        raise ConfigError(" ".join(sentences))


def check_heads(config: DictConfig) -> None:
    """Check that the attention heads of the model can be shared by the GPUs that share it.

    Raises:
        ConfigError: with the numbers.
    """
    shares = {TENSOR_PARALLEL: select(config, TENSOR_PARALLEL)}
    if uses_fsdp(config):
        nodes = training_nodes(config)
        shares |= {f"{node}.ulysses_sequence_parallel_size": sequence_parallel(config, node) for node in nodes}
    if max(shares.values()) < 2:
        return
    from transformers import AutoConfig

    path = select(config, names.MODEL_PATH)
    trusted = select(config, f"{MODEL}.trust_remote_code", False)
    heads = AutoConfig.from_pretrained(path, trust_remote_code=trusted).get_text_config().num_attention_heads
    for setting, share in shares.items():
        if heads % share:
            right = ", ".join(str(number) for number in range(1, heads + 1) if heads % number == 0)
            raise ConfigError(
                f"{setting}={share}, but {path} has {heads} attention heads, which that number of GPUs cannot share "
                f"evenly: set it to one of {right}."
            )


def check_linear_attention(config: DictConfig, model: Any) -> None:
    """Check that the machine of the run can compute layers of linear attention, as Qwen3.5 has them.

    Args:
        config: the whole configuration.
        model: the configuration of the model, of transformers.

    Raises:
        ConfigError: vLLM's CPU build would stop at the first rollout, or GPUs share a sequence without the package
            that this takes.
    """
    path = select(config, names.MODEL_PATH)
    if "linear_attention" not in (getattr(model.get_text_config(), "layer_types", None) or []):
        return
    dtype = select(config, _ROLLOUT_DTYPE)
    if select(config, names.DEVICE) == "cpu" and select(config, ROLLOUT_NAME) == "vllm" and dtype != "bfloat16":
        raise ConfigError(
            f"{_ROLLOUT_DTYPE}={dtype}, but {path} has layers of linear attention, which vLLM's CPU build computes in "
            "bfloat16 alone: set it to bfloat16."
        )
    if not uses_fsdp(config) or _is_installed(LINEAR_ATTENTION):
        return
    lack = f"{path} has layers of linear attention, and the package {LINEAR_ATTENTION} is not installed"
    for node in training_nodes(config):
        if (share := sequence_parallel(config, node)) > 1:
            raise ConfigError(
                f"{node}.ulysses_sequence_parallel_size={share}, but {lack}, with which verl shares a sequence between "
                f"GPUs: pip install {INSTALL_LINEAR_ATTENTION}, or set it to 1."
            )
    if torch.cuda.is_available():
        logger.warning(
            "%s: transformers computes them in torch, row by row, which is slow: pip install %s.",
            lack,
            INSTALL_LINEAR_ATTENTION,
        )
