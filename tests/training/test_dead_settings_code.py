# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The table of settings without effect, compared with the code of verl and of this package."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from support.readers import OURS, VERL, readers, reads

from verl_mapo.training import dead_settings_conditions as conditions
from verl_mapo.training.dead_settings import Given
from verl_mapo.training.dead_settings_conditions import (
    LOSS,
)
from verl_mapo.training.dead_settings_table import TABLE

ROWS = [(row, name) for row in TABLE for name in row.values]

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
    of_sft = "coldstart/settings.py"  # of another configuration
    assert readers(OURS, path, is_shared(path)) <= {"training/dead_settings_table.py", of_sft}


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
    assert unread - listed == {"actor_rollout_ref.actor.freeze_vision_tower"}, "this package's engine reads it"


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
