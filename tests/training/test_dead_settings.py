# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The table of settings without effect: every row is tried, and compared with the code of verl and of this package."""

from __future__ import annotations

import copy
import inspect
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from support.readers import OURS, VERL, readers, reads
from support.scripted import compose_config

from verl_mapo import names
from verl_mapo.settings import ConfigError, select
from verl_mapo.training import dead_settings_conditions as conditions
from verl_mapo.training.config_checks import check_config
from verl_mapo.training.dead_settings import Condition, DeadSettings, Given, check_dead_settings
from verl_mapo.training.dead_settings_conditions import (
    ACTOR,
    CORRECTION,
    LOSS,
    MODEL,
    MULTI_TURN,
    ROLLOUT,
    SAMPLER,
    TRAINER_MODE,
)
from verl_mapo.training.dead_settings_table import TABLE

ROWS = [(row, name) for row in TABLE for name in row.values]
IDS = [f"{row.node}.{name}" for row, name in ROWS]
ESTIMATOR, CREDIT = names.ADV_ESTIMATOR, names.VISUAL_CREDIT_NODE
AXPO = f"{ESTIMATOR}=axpo"

HOLDS = {
    conditions.MODEL_SCORES: {"reward.reward_model.enable": True},
    conditions.NO_ALIGNMENT: {ESTIMATOR: "vgpo"},
    conditions.WARMED_UP: {f"{ACTOR}.optim.lr_warmup_steps": 10},
    conditions.OTHER_MANAGER: {names.REWARD_MANAGER_NAME: "naive"},
    conditions.SAME_MEAN: {f"{names.MAPO_NODE}.coupling": "reward_sum"},
    conditions.NO_NUMBERS: {f"{names.ALIGNMENT_NODE}.outcome": "exact"},
}
"""Settings with which a condition holds in a MAPO run; the others hold in any such run, or are Given."""

FAILS = {
    conditions.CRITIC: {ESTIMATOR: "gae"},
    conditions.NO_CRITIC: {"critic.enable": True},
    conditions.CLIPPED: {f"{ACTOR}.clip_ratio_low": None},
    conditions.NO_KL_LOSS: {f"{ACTOR}.use_kl_loss": True},
    conditions.NO_KL_REWARD: {"algorithm.use_kl_in_reward": True},
    conditions.NO_REFERENCE: {f"{ACTOR}.use_kl_loss": True},
    conditions.MODEL_SCORES: {},
    conditions.NO_SAMPLER: {f"{SAMPLER}.custom_sampler.path": "a.py", f"{SAMPLER}.custom_sampler.name": "A"},
    conditions.ON_POLICY: {TRAINER_MODE: "colocate_async"},
    conditions.WARMED_UP: {},
    conditions.CONSTANT_RATE: {f"{ACTOR}.optim.warmup_style": "cosine"},
    conditions.OTHER_MANAGER: {},
    conditions.NO_ALIGNMENT: {ESTIMATOR: "axpo", f"{names.AXPO_NODE}.alignment": True},
    conditions.NO_AXPO: {ESTIMATOR: "axpo"},
    conditions.NO_CREDIT: {f"{CREDIT}.enable": True},
    conditions.SAME_MEAN: {},
    conditions.NO_NUMBERS: {f"{names.ALIGNMENT_NODE}.outcome": "numeric"},
}
"""Settings with which a condition does not hold; the conditions that are left always hold, or are Given."""


def default(value: Any) -> Any:
    """A value of the table, where ``${PATH}`` is the value of another setting."""
    return select(composed(), value[2:-1]) if isinstance(value, str) and value.startswith("${") else value


def another(value: Any) -> Any:
    """A value of a setting other than this one."""
    value = default(value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return ["other"] if isinstance(value, list) else {"other": 1} if isinstance(value, dict) else "other"


def a_value_of(row: DeadSettings, name: str) -> Any:
    """A value of one of the settings of a row for which the row has a sentence."""
    if row.when is conditions.SAME_MEAN:
        return "group_mean"
    return True if f"{row.node}.{name}" == "critic.enable" else another(row.values[name])


@cache
def composed(*overrides: str) -> DictConfig:
    """A configuration that the tests of this file share: composing one takes longer than all the rest of a test."""
    config = compose_config(*overrides)
    OmegaConf.set_struct(config, False)
    return config


@contextmanager
def settings(values: Mapping[str, Any]) -> Iterator[DictConfig]:
    """The shared configuration with other settings, inside the ``with`` block."""
    config, undo = composed(), ExitStack()
    with undo:
        for path, value in values.items():
            node, *names_left = config, *path.split(".")
            while len(names_left) > 1 and isinstance(node._get_node(names_left[0]), DictConfig):
                node = node._get_node(names_left.pop(0))
            if names_left[0] in node:
                undo.callback(node._set_item_impl, names_left[0], copy.deepcopy(node._get_node(names_left[0])))
            else:
                undo.callback(node.pop, names_left[0])
            OmegaConf.update(config, path, value, merge=False, force_add=True)
        yield config


def holding(when: Condition) -> dict[str, Any]:
    return {when.path: when.values[0]} if isinstance(when, Given) else HOLDS.get(when, {})


def failing(when: Condition) -> dict[str, Any] | None:
    if isinstance(when, Given):
        return {when.path: another(when.values[0])}
    return FAILS.get(when)


@pytest.mark.parametrize(("row", "name"), ROWS, ids=IDS)
def test_setting_without_effect_is_found_while_its_condition_holds(row, name):
    path, value = f"{row.node}.{name}", a_value_of(row, name)
    sentence = f"{path}={value} has no effect {row.when.words}: {row.instead}."
    with settings({**holding(row.when), path: value}) as config:
        assert sentence in list(row.found(config))
    with settings({**holding(row.when), path: default(row.values[name])}) as config:
        assert not any(found.startswith(f"{path}=") for found in row.found(config)), "a default is reported"
    if failing(row.when) is not None:
        with settings({path: value, **failing(row.when)}) as config:
            assert not any(found.startswith(f"{path}=") for found in row.found(config))


def test_setting_stops_the_run_or_is_a_warning(caplog):
    first, second = {f"{MULTI_TURN}.num_repeat_rollouts": 2}, {f"{ROLLOUT}.multi_stage_wake_up": True}
    with settings(second) as config, caplog.at_level(logging.WARNING):
        check_dead_settings(config, TABLE)
    [message] = caplog.messages
    assert message.startswith(f"verl-mapo: {ROLLOUT}.multi_stage_wake_up=True has no effect")
    with (
        settings({**first, **second}) as config,
        pytest.raises(ConfigError, match="num_repeat_rollouts=2 has no effect"),
    ):
        check_dead_settings(config, TABLE)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["stack=cpu"],
        ["method=axpo"],
        ["method=axpo", "stack=cpu", "task=toy"],
        ["method=vgpo", "stack=cpu", "task=toy"],
    ],
    ids=" ".join,
)
def test_shipped_configuration_sets_nothing_without_effect(overrides):
    config = composed(*overrides)
    assert [sentence for row in TABLE for sentence in row.found(config)] == []


@cache
def stock_config() -> DictConfig:
    """verl's own configuration."""
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer")


def test_values_of_which_nothing_is_said_are_the_defaults_of_verl():
    stock = stock_config()
    of_this_package = {f"{MULTI_TURN}.enable"}  # verl's own value is false, and its tool agent does not read it either
    for row, name in ROWS:
        path = f"{row.node}.{name}"
        value = select(stock, path)
        if value is not None and path not in of_this_package:
            assert not list(
                DeadSettings(row.node, {name: row.values[name]}, conditions.NOWHERE, True, "").found(stock)
            ), path


def test_every_setting_that_is_recommended_exists():
    config = composed("method=axpo")
    added = {"reward.custom_reward_function.reward_kwargs"}  # verl reads it, but its configuration does not list it
    sections = "|".join(("data", "trainer", "reward", "algorithm", "actor_rollout_ref", "visual_tool"))
    for row in TABLE:
        for path in set(re.findall(rf"\b(?:{sections})\.[\w.]*\w", row.instead)) - added:
            node, _, name = path.rpartition(".")
            assert name in select(config, node), path


@pytest.mark.parametrize(
    "override",
    [
        f"{MULTI_TURN}.tool_config_path=tools.yaml",
        f"{MULTI_TURN}.function_tool_path=tools.py",
        f"{MULTI_TURN}.max_parallel_calls=4",
        f"{MULTI_TURN}.max_user_turns=3",
        f"{MULTI_TURN}.max_tool_response_length=1024",
        f"{MULTI_TURN}.tool_response_truncate_side=left",
        f"{MULTI_TURN}.format=qwen3_coder",
        f"{MULTI_TURN}.enable=false",
        f"{ACTOR}.freeze_vision_tower=true",
        f"{ACTOR}.clip_ratio=0.3",
        f"{ACTOR}.checkpoint.async_save=true",
        f"{MODEL}.lora.rank=16",
        f"{MODEL}.lora_adapter_path=adapter",
        "custom_reward_function.path=score.py",
        "reward_model.reward_manager=dapo",
        "algorithm.gamma=0.9",
        f"{CORRECTION}.loss_type=reinforce",
        "trainer.resume_from_path=global_step_3",
    ],
)
def test_named_settings_stop_the_run_at_its_start(override):
    path, value = split(override)
    with settings({path: value}) as config, pytest.raises(ConfigError, match=re.escape(path)):
        check_config(config)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([f"{ACTOR}.use_torch_compile=false"], f"set {ACTOR}.fsdp_config.use_torch_compile"),
        ([f"{MODEL}.tiled_mlp.enabled=true"], "tiled_mlp.enabled=True has no effect in verl"),
        (["data.trust_remote_code=true"], f"set {MODEL}.trust_remote_code"),
        ([f"{MODEL}.target_modules=[q_proj]"], f"with {MODEL}.lora_rank=0"),
        ([f"{MODEL}.exclude_modules=.*visual.*"], f"with {MODEL}.lora_rank=0"),
        ([f"{MODEL}.lora_alpha=32"], f"with {MODEL}.lora_rank=0"),
        ([f"{ACTOR}.kl_loss_type=k3"], f"with {ACTOR}.use_kl_loss=false"),
        (["algorithm.kl_penalty=abs"], "with algorithm.use_kl_in_reward=false"),
        ([f"{ROLLOUT}.val_kwargs.top_p=0.9"], f"with {ROLLOUT}.val_kwargs.temperature=0"),
        ([f"{ROLLOUT}.val_kwargs.top_k=20"], f"with {ROLLOUT}.val_kwargs.temperature=0"),
        ([f"{ACTOR}.policy_loss.clip_cov_ratio=0.1"], f"unless {ACTOR}.policy_loss.loss_mode is clip_cov"),
        ([f"{ACTOR}.policy_loss.loss_mode=gpg", f"{ACTOR}.clip_ratio_high=0.28"], f"unless {ACTOR}.policy_loss"),
        (["algorithm.filter_groups.metric=acc"], "with algorithm.filter_groups.enable=false"),
        (["reward.description_alignment.outcome=exact", "reward.description_alignment.tolerance=0.1"], "no numbers"),
        (["reward.custom_reward_function.path=a.py", "reward.description_alignment.tolerance=0.1"], "no numbers"),
        (["reward.description_alignment.scorer.api_key_env=KEY"], "scorer.kind=clip"),
        (["algorithm.mapo.beta=0", "algorithm.mapo.min_std=0.1"], "with algorithm.mapo.beta=0"),
        (["algorithm.mapo.credit=turn", "algorithm.mapo.aggregation=late"], "with algorithm.mapo.credit=turn"),
        (["algorithm.mapo.coupling=reward_sum", "algorithm.mapo.no_tool=group_mean"], "the same as neutral"),
        ([AXPO, "algorithm.axpo.fix_prefix=false", "algorithm.axpo.prefix_credit=false"], "axpo.fix_prefix=false"),
        ([AXPO, "algorithm.axpo.fix_prefix=false", "algorithm.axpo.unrecovered_source=grpo"], "axpo.fix_prefix=false"),
        ([f"{CREDIT}.enable=true", f"{CREDIT}.inter=false", f"{CREDIT}.group=official"], f"{CREDIT}.inter=false"),
        ([f"{ESTIMATOR}=vgpo", f"{CREDIT}.inter=false", f"{CREDIT}.trajectory_score=mean"], f"{CREDIT}.inter=false"),
    ],
)
def test_named_settings_of_a_sweep_are_warnings(overrides, said, caplog):
    given = dict(map(split, overrides))
    with settings(given) as config, caplog.at_level(logging.WARNING):
        check_dead_settings(config, TABLE)
    *_, (path, value) = given.items()
    begin = f"verl-mapo: {path}={value} has no effect"
    [message] = [message for message in caplog.messages if message.startswith(begin)]
    assert said in message


def split(override: str) -> tuple[str, Any]:
    path, _, value = override.partition("=")
    return path, OmegaConf.to_container(OmegaConf.from_dotlist([f"x={value}"]))["x"]


# What the code of verl reads

OTHER_PROGRAMS = (
    "experimental/fully_async_policy/",
    "experimental/one_step_off_policy/",
    "experimental/separation/",
    "trainer/main_generation_server.py",
    "trainer/main_ppo_v0.py",
    "trainer/ppo/ray_trainer.py",
    "trainer/sft_trainer.py",
    "trainer/sft_trainer_ray.py",
    "utils/dataset/multiturn_sft_dataset.py",
    "workers/engine_workers_tinker.py",
    "workers/reward_manager/",
    "workers/rollout/hf_rollout.py",
    "workers/rollout/naive/",
    "workers/rollout/schemas.py",
)
"""Code of verl that no run with verl's V1 trainers calls."""

OTHER_PARTS = {
    conditions.NOWHERE: (),
    conditions.V1: (),
    conditions.LOOP: ("experimental/agent_loop/tool_agent_loop.py",),
    conditions.REWARD: ("experimental/reward_loop/reward_manager/",),
    conditions.FSDP: (
        "workers/config/megatron_peft.py",
        "utils/megatron",
        "utils/checkpoint/megatron_checkpoint_manager.py",
        "workers/engine/megatron/",
        "workers/engine/veomni/",
    ),
}
"""Condition to the further code that no run calls under it. The other conditions depend on values."""

WITHOUT_EFFECT = {
    "tool_config_path": {"experimental/agent_loop/agent_loop.py", "utils/dataset/rl_dataset.py"},
    "function_tool_path": {"experimental/agent_loop/agent_loop.py", "utils/dataset/rl_dataset.py"},
    "do_sample": {"utils/config.py"},
    "repetition_penalty": {"workers/rollout/vllm_rollout/vllm_async_server.py"},
    "backend": {"experimental/agent_loop/agent_loop.py"},
    "token2text": {"experimental/agent_loop/agent_loop.py", "utils/rollout_trace.py"},
    "max_samples_per_step_per_worker": {"experimental/agent_loop/agent_loop.py", "workers/config/rollout.py"},
    "truncation": {"utils/dataset/rl_dataset.py"},
    "return_raw_chat": {"utils/dataset/rl_dataset.py"},
    "return_full_prompt": {"utils/dataset/rl_dataset.py"},
    "return_multi_modal_inputs": {"utils/dataset/rl_dataset.py"},
    "max_num_gen_batches": {"trainer/ppo/v1/trainer_base.py"},
    "grad_clip": {"workers/config/optimizer.py"},
}
"""Name of a setting to the code that reads it without effect: it is stored, logged, asserted or overruled there."""

SHARED = set(
    "adapter_path alpha backend do_sample dropout dtype enable enabled exclude_modules format gamma group_size lam "
    "max_concurrent memory_limit_mb mode name path quantization_config_path rank reward_kwargs strict target_modules "
    "tokenizer total_training_steps trust_remote_code type url use_fused_kernels use_remove_padding "
    "use_torch_compile".split()
)
"""Names that settings of several nodes have."""

OVERRULED = {
    "algorithm.gamma": {"trainer/ppo/v1/trainer_base.py"},  # passed to every estimator
    "algorithm.lam": {"trainer/ppo/v1/trainer_base.py"},
    "algorithm.rollout_correction.loss_type": {"trainer/ppo/core_algos.py"},  # of a copy that V1 does not make
    "actor_rollout_ref.actor.optim.total_training_steps": {
        "workers/engine/fsdp/transformer_impl.py",  # V1 overwrites it
        "workers/engine/veomni/transformer_impl.py",
    },
    "actor_rollout_ref.actor.qat.quantization_config_path": {"utils/qat/core.py"},  # which gets fsdp_config.qat
    # these give the engines of the rollout the adapters that only Megatron trains, and choose the reference model
    "actor_rollout_ref.model.lora.rank": {
        "trainer/ppo/v1/trainer_base.py",
        "utils/config.py",
        "workers/rollout/sglang_rollout/utils.py",
        "workers/rollout/vllm_rollout/vllm_async_server.py",
    },
}

OLD_NODES = ("custom_reward_function", "reward_model", "sandbox_fusion")
SCANNED = [(row, name) for row, name in ROWS if row.when in OTHER_PARTS and row.node not in OLD_NODES]


def is_shared(path: str) -> bool:
    return path.split(".")[-1] in SHARED


def effective(path: str, when: Any) -> set[str]:
    """The files of verl that read a setting, without those that no run calls or in which it has no effect."""
    elsewhere = (*OTHER_PROGRAMS, *OTHER_PARTS[when])
    known = WITHOUT_EFFECT.get(path.split(".")[-1], set()) | OVERRULED.get(path, set())
    found = readers(VERL, path, is_shared(path))
    return {file for file in found - known if not file.startswith(elsewhere)}


@pytest.mark.parametrize(("row", "name"), SCANNED, ids=[f"{row.node}.{name}" for row, name in SCANNED])
def test_no_code_reads_the_setting(row, name):
    path = f"{row.node}.{name}"
    assert effective(path, row.when) == set(), "it is read: take it out of the table, or say why it has no effect"
    assert readers(OURS, path, is_shared(path)) <= {"training/dead_settings_table.py"}


def test_stored_settings_of_the_data_are_read_nowhere_else():
    stored = [name for name, files in WITHOUT_EFFECT.items() if files == {"utils/dataset/rl_dataset.py"}]
    code = (VERL / "utils/dataset/rl_dataset.py").read_text()
    assert len(stored) == 4 and all(len(re.findall(rf"self\.{name}\b", code)) == 1 for name in stored)


def test_old_nodes_of_the_reward_are_read_by_a_migration_that_no_v1_run_calls():
    migrating = [
        str(file.relative_to(VERL)) for file in VERL.rglob("*.py") if "migrate_legacy_reward_impl(" in file.read_text()
    ]
    assert {file for file in migrating if not file.startswith(OTHER_PROGRAMS)} == {
        "experimental/reward_loop/reward_loop.py"
    }
    for node in OLD_NODES:
        found = {file for owner, key, file in reads(VERL) if (owner, key) == ("config", node)}
        assert {file for file in found if not file.startswith(OTHER_PROGRAMS)} == {
            "experimental/reward_loop/reward_loop.py"
        }


def leaves(node: DictConfig, path: str = "") -> list[str]:
    found = []
    for name in node:
        child = node._get_node(name)
        below = isinstance(child, DictConfig) and not child._is_none() and len(child) > 0
        found += leaves(child, f"{path}{name}.") if below else [f"{path}{name}"]
    return found


def test_every_setting_that_nothing_reads_is_in_the_table():
    stock = stock_config()
    listed = {f"{row.node}.{name}" for row, name in ROWS}
    sections = ("data.", "actor_rollout_ref.", "algorithm.", "reward.", "trainer.")
    other = re.compile(
        r"profiler|turbo_config|disaggregation|_target_|reward_model\.rollout|\.mtp\.|engine_kwargs|v1.sync"
    )
    by_helper = {"num_shards", "min_num_params"}  # functions that get the node and the name read them
    unread = {
        path
        for path in leaves(stock)
        if path.startswith(sections)
        and not other.search(path)
        and path.split(".")[-1] not in by_helper
        and not {file for file in readers(VERL, path, whole=False) if not file.startswith(OTHER_PROGRAMS)}
    }
    assert unread - listed == set()


def test_clip_ratio_changes_no_loss_while_its_two_ends_are_set():
    import torch
    from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY
    from verl.workers.config import FSDPActorConfig

    log_prob, old, advantages = torch.tensor([[0.9, -0.9]]), torch.zeros(1, 2), torch.tensor([[1.0, -1.0]])
    losses = set()
    for ratio in (0.05, 0.2, 0.5):
        config = FSDPActorConfig(clip_ratio=ratio, ppo_micro_batch_size_per_gpu=1, rollout_n=2, use_dynamic_bsz=True)
        loss, _ = POLICY_LOSS_REGISTRY["vanilla"](old, log_prob, advantages, torch.ones(1, 2), config=config)
        losses.add(loss.item())
    assert len(losses) == 1


def test_each_loss_reads_the_settings_that_the_table_says():
    from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY

    assert set(conditions.LOSSES) == set(POLICY_LOSS_REGISTRY) - {"bypass_mode"}
    code = {loss: inspect.getsource(POLICY_LOSS_REGISTRY[loss]) for loss in conditions.LOSSES}
    found = [row for row in TABLE if isinstance(row.when, Given) and row.when.path == f"{LOSS}.loss_mode"]
    assert len(found) == 6
    for row in found:
        for name in row.values:
            assert {loss for loss in code if f"{name}" not in code[loss]} == set(row.when.values), name
