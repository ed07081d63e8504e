# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of a run's configuration and data before any worker starts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from datasets import Dataset, Value
from omegaconf import DictConfig, OmegaConf
from packaging.version import Version
from verl.experimental.agent_loop.agent_loop import _agent_loop_registry
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, AdvantageEstimator

from verl_mapo import names
from verl_mapo.overrides import check_data_path
from verl_mapo.rewards.compute_score import check_plain_rows
from verl_mapo.rewards.outcome import check_targets
from verl_mapo.rewards.settings import DescriptionAlignmentSettings, alignment_settings
from verl_mapo.rollout.context_length import check_context_length
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.rollout.tag_tokens import stop_token
from verl_mapo.settings import ConfigError, is_null, local_path, parse, select
from verl_mapo.training.dead_settings import check_dead_settings
from verl_mapo.training.dead_settings_conditions import ACTOR
from verl_mapo.training.dead_settings_table import TABLE
from verl_mapo.training.engines import check_engines, check_heads, check_linear_attention, check_micro_batches
from verl_mapo.training.free_settings import check_free_settings, check_model_settings
from verl_mapo.training.frozen_tower import check_frozen_tower, check_resumed_tower
from verl_mapo.training.logger_checks import check_loggers
from verl_mapo.training.method import Method
from verl_mapo.training.methods import METHODS, enabled_methods, estimator_method, is_built_in
from verl_mapo.training.mode_checks import check_mode
from verl_mapo.training.records import RecordSettings
from verl_mapo.training.resume_checks import check_resume, check_resumed_ranks
from verl_mapo.training.row_checks import check_messages
from verl_mapo.training.setting_values import check_setting_values
from verl_mapo.training.unknown_settings import check_unknown_settings
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
    check_setting_values(config)
    check_loggers(config)
    for settings in (VisualToolSettings, RecordSettings, *(method.Settings for method in METHODS)):
        _check_is_given(config, settings.NODE)
        parse(settings, config)
    check_unknown_settings(config, _own_nodes(config))
    check_free_settings(config)
    if select(config, names.REWARD_MANAGER_NAME) == names.REWARD_MANAGER:
        alignment_settings(config)
    _check_looks(config)
    check_mode(config)
    check_engines(config)
    check_micro_batches(config)
    check_frozen_tower(config, ACTOR, f"{ACTOR}.fsdp_config")
    check_resumed_tower(config, ACTOR, f"{ACTOR}.checkpoint", "actor")
    check_resumed_ranks(config, "actor")
    _check_audit(config)
    _check_weights(config)
    _check_image_cache(config)
    if estimator_method(config) is None:
        _check_stock_estimator(config)
    else:
        _check_groups(config)
        _check_kl(config)
    _check_continuations(config)
    for method in enabled_methods(config):
        method(config).check()
    check_dead_settings(config, TABLE)
    check_resume(config)
    _check_data_files(config)
    _check_picture_dir(config)
    if not any(select(config, path) for path in names.IMPORTED_LATER):
        _check_agent_loops(config, names.DEFAULT_AGENT_LOOP, {select(config, names.DEFAULT_AGENT_LOOP)})


def _check_is_given(config: DictConfig, node: str) -> None:
    """Refuse null for a node of settings: each of them, also those of a recipe, would have its default in silence."""
    if is_null(config, node):
        raise ConfigError(f"{node}=null is refused: it holds several settings; set each by itself, {node}.NAME=VALUE.")


def _check_audit(config: DictConfig) -> None:
    """Refuse audits where nothing can judge the answers to swapped images."""
    share, function = parse(VisualToolSettings, config).audit.share, select(config, names.CUSTOM_REWARD_FUNCTION)
    where = f"{names.VISUAL_TOOL_NODE}.audit.share={share}"
    if share and select(config, names.REWARD_MANAGER_NAME) != names.REWARD_MANAGER:
        raise ConfigError(
            f"{where} needs the reward manager that judges audits: set {names.REWARD_MANAGER_NAME}="
            f"{names.REWARD_MANAGER}, or the share to 0."
        )
    if share and function is not None:
        raise ConfigError(
            f"{where} judges answers to swapped images by the rows' answer checks, and {names.CUSTOM_REWARD_FUNCTION}="
            f"{function} reads whole rollouts: leave it null, or set the share to 0."
        )


def _own_nodes(config: DictConfig) -> set[str]:
    """This package's setting in a node of verl, and the nodes that have a settings class, also of other packages."""
    used = [method.Settings for method in (*METHODS, *enabled_methods(config)) if method.Settings is not None]
    own = (VisualToolSettings, RecordSettings, DescriptionAlignmentSettings)
    return {names.PICTURE_DIR, names.STRATEGIES_NODE, *(settings.NODE for settings in (*own, *used))}


def _check_looks(config: DictConfig) -> None:
    """Check that a training whose methods read turns has tools; an evaluation needs none."""
    if select(config, names.VAL_ONLY):
        return
    enabled = enabled_methods(config)
    tools = parse(VisualToolSettings, config).tools
    if not tools and (needing := [method.name for method in enabled if method.reads_turns]):
        raise ConfigError(
            f"{names.VISUAL_TOOL_NODE}.tools=[] lets no rollout call a tool, which {' and '.join(needing)} "
            f"needs: set {names.VISUAL_TOOL_NODE}.tools=[zoom], or evaluate with {names.VAL_ONLY}=true."
        )


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


def _check_kl(config: DictConfig) -> None:
    """Refuse a KL penalty in the reward for a method of this package: its outcomes would be no longer 0 and 1."""
    estimator = estimator_method(config)
    if config.algorithm.use_kl_in_reward and any(map(is_built_in, estimator.mro())):
        raise ConfigError(
            f"algorithm.use_kl_in_reward=True takes the KL penalty out of the reward, but {names.ADV_ESTIMATOR}="
            f"{select(config, names.ADV_ESTIMATOR)} needs the reward to tell right answers from wrong ones, and would "
            "divide the penalty by the spread of a group's rewards, whatever the coefficient: set "
            "algorithm.use_kl_in_reward=false and actor_rollout_ref.actor.use_kl_loss=true, which adds the KL to the "
            "loss."
        )


def _check_continuations(config: DictConfig) -> None:
    """Refuse continuations under an estimator that would compare them with the rollouts that they go on from."""
    manager, estimator = select(config, names.AGENT_LOOP_MANAGER), select(config, names.ADV_ESTIMATOR)
    if manager == names.RESAMPLING_MANAGER and estimator != names.AXPO:
        raise ConfigError(
            f"{names.AGENT_LOOP_MANAGER}={manager} adds continuations of failed rollouts to a batch, for which "
            f"{names.ADV_ESTIMATOR}={estimator} has no groups: leave it at null, or set {names.ADV_ESTIMATOR}="
            f"{names.AXPO}, which chooses it by itself."
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


def _check_image_cache(config: DictConfig) -> None:
    """Refuse a cache of processed images for a vLLM that mixes images up after it was paused; verl turns it off there.

    See https://github.com/vllm-project/vllm/pull/43001.
    """
    found, cache = distribution_version("vllm"), select(config, names.IMAGE_CACHE)
    if config.actor_rollout_ref.rollout.name == "vllm" and found and Version(found) < Version("0.22") and cache:
        raise ConfigError(
            f"{names.IMAGE_CACHE}={cache} makes vLLM {found} lose track of images when verl pauses it for an update: "
            "set it to 0, or install vLLM 0.22 or later."
        )


def check_model(config: DictConfig, methods: Iterable[Method], tokenizer: Any, processor: Any) -> None:
    """Check that GPUs can share a model, observations of tools fit, and the enabled methods can work with it.

    Args:
        config: the whole configuration.
        methods: the enabled methods, which keep what they need of the model.
        tokenizer: the model's tokenizer.
        processor: the model's processor; None for a model without images.

    Raises:
        ConfigError: with the arithmetic, or naming what the model lacks.
    """
    check_model_settings(config, tokenizer, processor)
    check_heads(config)
    if hasattr(processor, "config"):
        check_linear_attention(config, processor.config)
    if select(config, names.DEFAULT_AGENT_LOOP) == names.AGENT_LOOP:
        settings = parse(VisualToolSettings, config)
        check_context_length(config, settings, tokenizer, processor)
        stop_token(settings, tokenizer)
    for method in methods:
        method.check_model(tokenizer, processor)


def check_rows(config: DictConfig, training: Dataset, *others: Dataset) -> int:
    """Check that a loop that records visual turns will run, pictures can be shown, and every answer can be checked.

    Args:
        config: the whole configuration.
        training: the rows of the training data; a column ``agent_name`` chooses the agent loop row by row.
        others: further rows that will be scored, such as the validation data.

    Returns:
        the number of images of the row with the most, see :func:`check_messages`.

    Raises:
        ConfigError: an agent loop does not exist, every training row would run one of verl's own agent loops although
            the run asks for another, a row cannot be shown to the model (:func:`check_messages`),
            or its ``reward_model`` has no ground truth that can be read, or a ``style`` that names no answer check
            although it chooses the check, or that names another check than the one of all rows.
    """
    default, estimator = select(config, names.DEFAULT_AGENT_LOOP), select(config, names.ADV_ESTIMATOR)
    _check_agent_loops(config, names.DEFAULT_AGENT_LOOP, {default})
    for dataset in (training, *others):
        if "agent_name" in dataset.column_names:
            kind = dataset.features["agent_name"]
            if not isinstance(kind, Value):
                raise ConfigError(
                    f"In the data, the column agent_name holds no text but {kind}: remove it, or write "
                    f"{names.AGENT_LOOP} in it."
                )
            _check_agent_loops(config, "In the data, agent_name", set(dataset.unique("agent_name")))
    in_rows = set(training.unique("agent_name")) if "agent_name" in training.column_names else None
    if in_rows is not None and default == names.AGENT_LOOP and in_rows <= set(names.STOCK_AGENT_LOOPS):
        raise ConfigError(
            f"In the data, agent_name={', '.join(sorted(in_rows))} in every row, so that verl ignores "
            f"{names.DEFAULT_AGENT_LOOP}={default}: remove the column, or write {names.AGENT_LOOP} in it."
        )
    method = estimator_method(config)
    if method is not None and method.reads_turns and (in_rows or {default}) <= set(names.STOCK_AGENT_LOOPS):
        raise ConfigError(
            f"{names.DEFAULT_AGENT_LOOP}={default} records no turns, which {names.ADV_ESTIMATOR}={estimator} "
            f"needs: set {names.DEFAULT_AGENT_LOOP}={names.AGENT_LOOP}."
        )
    most_images = check_messages(config, training, *others)
    for dataset, data in ((training, "the training data"), *((other, "the validation data") for other in others)):
        if "reward_model" in dataset.column_names:
            check_plain_rows(config, dataset["reward_model"], data)
            check_targets(config, dataset["reward_model"], data)
    return most_images


def check_columns(config: DictConfig, *datasets: Dataset) -> None:
    """Check that the data have the columns that this package's reward manager reads; verl misses them in a worker.

    Args:
        config: the whole configuration.
        datasets: the training and the validation data.

    Raises:
        ConfigError: naming the column, and the columns that there are.
    """
    if select(config, names.REWARD_MANAGER_NAME) != names.REWARD_MANAGER:
        return
    for dataset, column in product(datasets, ("reward_model", "data_source")):
        if column not in dataset.column_names:
            raise ConfigError(
                f"The data have no column {column}; they have {', '.join(dataset.column_names)}. Add it, for "
                "example with verl-mapo data convert."
            )


def _check_data_files(config: DictConfig) -> None:
    """Check that data files are paths, and not taken for patterns; a pattern itself, which is no file, is left."""
    for setting in (names.TRAIN_FILES, names.VAL_FILES):
        given = select(config, setting, ())
        files = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
        for file in files:
            if not isinstance(file, str):
                raise ConfigError(
                    f"{setting}={given} is refused: give the path of a file, or a list "
                    "of paths, for example data/train.parquet."
                )
            if local_path(file).is_file():
                check_data_path(setting, file)


def _check_picture_dir(config: DictConfig) -> None:
    given = select(config, names.PICTURE_DIR)
    if given is not None and (not isinstance(given, str) or not given.strip()):
        raise ConfigError(
            f"{names.PICTURE_DIR}={given!r} is refused: set it to a folder that all nodes can read, for example "
            "/shared/pictures, or to null."
        )


def _check_agent_loops(config: DictConfig, where: str, used: set[str | None]) -> None:
    """Check that agent loops are registered; verl itself looks each up in the first rollout, which then fails.

    A manager of the user may register more of them in its workers, so nothing is checked where there is one.
    """
    manager, file = select(config, names.AGENT_LOOP_MANAGER), select(config, names.AGENT_LOOP_FILE)
    if manager not in (None, names.RESAMPLING_MANAGER):
        return
    known = {*_agent_loop_registry, *(entry.name for entry in (OmegaConf.load(file) if file else ()))}
    for name in sorted(map(str, used - known)):
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}? Otherwise use" if close else "use"
        raise ConfigError(f"{where}={name} is no agent loop: {hint} one of {', '.join(sorted(known))}.")
