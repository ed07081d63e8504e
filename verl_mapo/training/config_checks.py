# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of a run's configuration and data before any worker starts."""

from __future__ import annotations

import difflib
from dataclasses import fields

from datasets import Dataset
from omegaconf import DictConfig
from packaging.version import Version
from verl.trainer.config.algorithm import AlgoConfig
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, AdvantageEstimator

from verl_mapo import names
from verl_mapo.rewards.outcome import check_targets
from verl_mapo.rewards.settings import alignment_settings
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError, parse, select
from verl_mapo.training.methods import METHODS, enabled_methods, estimator_method
from verl_mapo.versions import distribution_version


def uses_this_package(config: DictConfig) -> bool:
    """Whether a run uses any part of this package. Any other run gets verl's own trainer, unchanged.

    Raises:
        ConfigError: ``algorithm.adv_estimator`` is a dotted path that leads to no method.
    """
    return (
        bool(enabled_methods(config))
        or select(config, names.DEFAULT_AGENT_LOOP) == names.AGENT_LOOP
        or select(config, names.REWARD_MANAGER_NAME) == names.REWARD_MANAGER
    )


def check_config(config: DictConfig) -> None:
    """Check every setting that can be checked without model and data, and call ``check`` of the enabled methods.

    Raises:
        ConfigError: naming the setting, its value and a valid value.
    """
    parse(VisualToolSettings, config)
    for method in METHODS:
        parse(method.Settings, config)
    _check_nodes(config)
    if select(config, names.REWARD_MANAGER_NAME) == names.REWARD_MANAGER:
        alignment_settings(config)
    _check_weights(config)
    if estimator_method(config) is None:
        _check_stock_estimator(config)
    else:
        _check_groups(config)
    for method in enabled_methods(config):
        method(config).check()


def _check_nodes(config: DictConfig) -> None:
    """Check that no node under ``algorithm`` is a misspelt node of a method, whose settings would be ignored."""
    used = [method for method in (*METHODS, *enabled_methods(config)) if method.Settings is not None]
    nodes = {method.Settings.NODE.removeprefix("algorithm.") for method in used}
    verls = {field.name for field in fields(AlgoConfig)}
    for name in config.algorithm:
        close = difflib.get_close_matches(str(name), nodes, n=1, cutoff=0.9)
        if name not in nodes | verls and close:
            raise ConfigError(f"algorithm.{name} is not a setting; did you mean algorithm.{close[0]}?")


def _check_stock_estimator(config: DictConfig) -> None:
    """Check that an estimator without a method is one of verl's own; verl itself looks it up only in the first step."""
    estimator = str(select(config, names.ADV_ESTIMATOR))
    known = sorted({member.value for member in AdvantageEstimator} | set(ADV_ESTIMATOR_REGISTRY))
    if estimator not in known:
        close = difflib.get_close_matches(estimator, known, n=1)
        hint = f"did you mean {close[0]}? Otherwise use" if close else "use"
        raise ConfigError(
            f"{names.ADV_ESTIMATOR}={estimator} is no estimator of this package or of verl: {hint} one of "
            f"{', '.join(known)}, or the dotted path of a method of yours."
        )


def _check_groups(config: DictConfig) -> None:
    """Check that groups have several rollouts, and that rollouts are scored before their crops are discarded."""
    estimator, n = select(config, names.ADV_ESTIMATOR), select(config, names.ROLLOUT_N)
    if n < 2:
        raise ConfigError(
            f"{names.ROLLOUT_N}={n}, but {names.ADV_ESTIMATOR}={estimator} compares the rollouts of a prompt: set it "
            "to 2 or more, for example 8."
        )
    reward_model = config.reward.reward_model
    if reward_model.enable and not reward_model.enable_resource_pool:
        raise ConfigError(
            "reward.reward_model.enable=True without a resource pool scores after the rollout, when the crops are "
            "gone and nothing can be resampled: set reward.reward_model.enable_resource_pool=True, or "
            "reward.reward_model.enable=False."
        )


def _check_weights(config: DictConfig) -> None:
    """Refuse dummy weights for vLLM 0.28 or later: they spoil Qwen2.5-VL's input normalisation for good."""
    rollout = config.actor_rollout_ref.rollout
    found = distribution_version("vllm")
    if rollout.name == "vllm" and rollout.load_format == "dummy" and found and Version(found) >= Version("0.28"):
        raise ConfigError(
            f"actor_rollout_ref.rollout.load_format=dummy makes vLLM {found} misread every image without an error: set "
            "actor_rollout_ref.rollout.load_format=auto."
        )


def check_rows(config: DictConfig, training: Dataset, *others: Dataset) -> None:
    """Check that some agent loop that records visual turns will run, and that every answer can be checked.

    Args:
        config: the whole configuration.
        training: the rows of the training data; a column ``agent_name`` chooses the agent loop row by row.
        others: further rows that will be scored, such as the validation data.

    Raises:
        ConfigError: every training row would run one of verl's own agent loops, or a row's ``reward_model`` has no
            ground truth that can be read, or a ``style`` that names no answer check although it chooses the check.
    """
    loop, estimator = select(config, names.DEFAULT_AGENT_LOOP), select(config, names.ADV_ESTIMATOR)
    records_nothing = loop in names.STOCK_AGENT_LOOPS and "agent_name" not in training.column_names
    if estimator in (names.MAPO, names.AXPO) and records_nothing:
        raise ConfigError(
            f"{names.DEFAULT_AGENT_LOOP}={loop} records no visual turns, which {names.ADV_ESTIMATOR}={estimator} "
            f"needs: set {names.DEFAULT_AGENT_LOOP}={names.AGENT_LOOP}."
        )
    scored = [dataset for dataset in (training, *others) if "reward_model" in dataset.column_names]
    check_targets(config, (target for dataset in scored for target in dataset["reward_model"]))
