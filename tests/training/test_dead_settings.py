# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The table of settings without effect: every row is tried, and compared with the code of verl and of this package."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from support.readers import OURS, VERL, readers, reads
from support.scripted import compose_config

from verl_mapo import names
from verl_mapo.settings import ConfigError, select
from verl_mapo.training import dead_settings_table as table
from verl_mapo.training.config_checks import check_config
from verl_mapo.training.dead_settings import check_dead_settings
from verl_mapo.training.dead_settings_table import ACTOR, MULTI_TURN, ROLLOUT, TABLE

ROWS = [(row, name) for row in TABLE for name in row.values]
IDS = [f"{row.node}.{name}" for row, name in ROWS]

HOLDS = {
    table.GREEDY: [f"{ROLLOUT}.val_kwargs.temperature=0"],
    table.MODEL_SCORES: ["reward.reward_model.enable=true", "reward.reward_model.enable_resource_pool=true"],
    table.OTHER_LOOP: [f"{names.DEFAULT_AGENT_LOOP}=single_turn_agent"],
    table.NO_ALIGNMENT: ["algorithm.adv_estimator=vgpo"],
    table.PLAIN_MEAN: ["algorithm.mapo.aggregation=mean"],
}
"""Overrides of a MAPO run with which a condition holds; the others hold in any such run."""

FAILS = {
    table.LOOP: [f"{names.DEFAULT_AGENT_LOOP}=tool_agent"],
    table.FSDP: [f"{ACTOR}.strategy=megatron"],
    table.REWARD: [f"{names.REWARD_MANAGER_NAME}=naive"],
    table.ESTIMATOR: ["algorithm.adv_estimator=gae"],
    table.CRITIC: ["algorithm.adv_estimator=gae"],
    table.CLIPPED: [f"{ACTOR}.clip_ratio_low=null"],
    table.GREEDY: [f"{ROLLOUT}.val_kwargs.temperature=1.0"],
    table.NO_KL_LOSS: [f"{ACTOR}.use_kl_loss=true"],
    table.NO_KL_REWARD: ["algorithm.use_kl_in_reward=true"],
    table.NO_FUNCTION: ["reward.custom_reward_function.path=score.py"],
    table.REGISTERED: ["reward.reward_manager.source=importlib"],
    table.MODEL_SCORES: ["reward.reward_model.enable=false"],
    table.OTHER_LOOP: [],
    table.NO_ALIGNMENT: ["method=axpo", "algorithm.axpo.alignment=true"],
    table.PLAIN_MEAN: [],
    table.NO_AXPO: ["method=axpo"],
    table.NO_CREDIT: ["algorithm.visual_credit.enable=true"],
}
"""Overrides with which a condition does not hold; the conditions that are left always hold."""


def another(config: DictConfig, value: Any) -> Any:
    """A value of a setting other than this one."""
    if isinstance(value, str) and value.startswith("${"):
        value = select(config, value[2:-1])
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return ["other"] if isinstance(value, list) else "other"


@cache
def composed(*overrides: str) -> DictConfig:
    """A configuration that the tests of this file share: copying one takes longer than all the rest of a test."""
    config = compose_config(*overrides)
    OmegaConf.set_struct(config, False)
    return config


@contextmanager
def setting(config: DictConfig, path: str, value: Any) -> Iterator[DictConfig]:
    """A configuration with one other setting, inside the ``with`` block."""
    before = OmegaConf.select(config, path)
    before = OmegaConf.to_container(before) if OmegaConf.is_config(before) else before
    OmegaConf.update(config, path, value, merge=False, force_add=True)
    try:
        yield config
    finally:
        OmegaConf.update(config, path, before, merge=False, force_add=True)


@pytest.mark.parametrize(("row", "name"), ROWS, ids=IDS)
def test_setting_without_effect_stops_the_run_or_is_a_warning(row, name, caplog):
    path = f"{row.node}.{name}"
    value = True if path == "critic.enable" else another(composed(), row.values[name])
    sentence = f"{path}={value} has no effect {row.when.words}: {row.instead}."
    with setting(composed(*HOLDS.get(row.when, [])), path, value) as config, caplog.at_level(logging.WARNING):
        if row.stops:
            with pytest.raises(ConfigError) as error:
                check_dead_settings(config, TABLE)
            assert sentence in str(error.value)
        else:
            check_dead_settings(config, TABLE)
            assert f"verl-mapo: {sentence}" in caplog.messages
    if row.when in FAILS:
        with setting(composed(*FAILS[row.when]), path, value) as config:
            assert not any(path in found for found in row.found(config))


@pytest.mark.parametrize("stack", [[], ["stack=cpu"], ["stack=cpu", "task=toy"]])
@pytest.mark.parametrize("method", ["mapo", "axpo", "vgpo"])
def test_shipped_configuration_sets_nothing_without_effect(method, stack):
    config = composed(f"method={method}", *stack)
    assert [sentence for row in TABLE for sentence in row.found(config)] == []


def test_values_of_which_nothing_is_said_are_the_defaults_of_verl():
    with initialize_config_module("verl.trainer.config", version_base=None):
        stock = compose("ppo_trainer")
    of_this_package = {f"{MULTI_TURN}.enable"}  # verl's own value is false, and its tool agent does not read it either
    for row, name in ROWS:
        path = f"{row.node}.{name}"
        value = select(stock, path)
        if value is not None and path not in of_this_package:
            assert not list(type(row)(row.node, {name: row.values[name]}, table.NOWHERE, True, "").found(stock)), path


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
        "actor_rollout_ref.model.lora.rank=16",
        "custom_reward_function.path=score.py",
        "reward_model.reward_manager=dapo",
        "algorithm.gamma=0.9",
    ],
)
def test_named_settings_stop_the_run_at_its_start(override):
    with pytest.raises(ConfigError, match=re.escape(override.partition("=")[0])):
        check_config(compose_config(override))


def test_compiling_is_a_warning_that_names_the_setting_of_the_engine(caplog):
    with caplog.at_level(logging.WARNING):
        check_config(compose_config(f"{ACTOR}.use_torch_compile=false"))
    [message] = [message for message in caplog.messages if message.startswith("verl-mapo: ")]
    assert f"set {ACTOR}.fsdp_config.use_torch_compile" in message


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
    table.NOWHERE: (),
    table.V1: (),
    table.LOOP: ("experimental/agent_loop/tool_agent_loop.py",),
    table.REWARD: ("experimental/reward_loop/reward_manager/",),
    table.FSDP: (
        "workers/config/megatron_peft.py",
        "utils/megatron",
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
    "adapter_path alpha backend do_sample dropout dtype enable exclude_modules format gamma lam name path rank "
    "reward_kwargs target_modules tokenizer type url use_fused_kernels use_remove_padding use_torch_compile".split()
)
"""Names that settings of several nodes have."""

OVERRULED = {
    "algorithm.gamma": {"trainer/ppo/v1/trainer_base.py"},  # passed to every estimator
    "algorithm.lam": {"trainer/ppo/v1/trainer_base.py"},
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
    with initialize_config_module("verl.trainer.config", version_base=None):
        stock = compose("ppo_trainer")
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
