# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The table of settings without effect: every row is tried. test_dead_settings_code.py compares it with the code."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from support.scripted import compose_config

from verl_mapo import names
from verl_mapo.settings import ConfigError, select
from verl_mapo.training import dead_settings_conditions as conditions
from verl_mapo.training.config_checks import check_config
from verl_mapo.training.dead_settings import Condition, DeadSettings, Given, check_dead_settings
from verl_mapo.training.dead_settings_conditions import (
    ACTOR,
    CORRECTION,
    MODEL,
    MULTI_TURN,
    ROLLOUT,
    SAMPLER,
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
    conditions.ON_POLICY: {names.TRAINER_MODE: "colocate_async"},
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
        *([f"method={name}"] for name in ("grpo", "dr_grpo", "rloo", "dapo", "gspo", "ppo")),
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
