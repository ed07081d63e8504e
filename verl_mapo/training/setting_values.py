# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The check of values of verl's settings that verl takes for something else, or refuses only after minutes.

verl's nodes have no types until a worker makes a dataclass of them, and these dataclasses check no types either: the
text ``flase`` is true wherever a truth value is read, and an unknown name in ``save_contents`` saves nothing.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY

from verl_mapo import names
from verl_mapo.settings import ConfigError, is_null, select
from verl_mapo.training.dead_settings_conditions import ACTOR, FILTER_GROUPS, LOSS, MODEL, ROLLOUT
from verl_mapo.training.number_ranges import numbers_out_of_range
from verl_mapo.training.unknown_settings import verl_settings

_KL = ("kl", "k1", "abs", "mse", "k2", "low_var_kl", "k3")
_AGGREGATIONS = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")
_SCHEDULES = ("constant", "cosine", "linear", "inverse-square-root")
_CONTENTS = ("model", "optimizer", "extra", "hf_model")
_TERMS = ("reward", "acc", "rule", "undecided", "visual_turns", "unscored", "zero_by_fault")
"""What every rollout has under this package's reward manager: groups can be filtered by each of them."""

_WEIGHTS_SENT_BY = f"{ROLLOUT}.checkpoint_engine"
_ENGINES = ("naive", "nccl", "nixl", "kimi_ckpt_engine", "mooncake", "delta_sharded")
_STORAGE = "transfer_queue.backend.storage_backend"

_NEEDED = (
    *(names.RESUME_MODE, names.TRAINER_MODE, names.DEVICE, f"{LOSS}.loss_mode"),
    *(f"{ACTOR}.loss_agg_mode", f"{ACTOR}.optim.lr_scheduler_type", f"{ACTOR}.optim.optimizer"),
    *(f"{_WEIGHTS_SENT_BY}.backend", _STORAGE, names.REWARD_MANAGER_SOURCE, f"{FILTER_GROUPS}.metric"),
)
"""Those of which null is refused where their values are known: verl resumes nothing at null, or ends in a worker."""

NUMBER_OR_TEXT = ("algorithm.rollout_correction.rollout_is_threshold",)
"""Settings whose default is a number and that may be a text: here two bounds, such as ``0.5_2.0``."""


def _choices(config: DictConfig) -> dict[str, tuple[str, ...]]:
    """Dotted path of a setting to the values that verl knows; a list may have several of them.

    A setting that has no effect, or to which code of the user may give other values, is left out.
    """
    from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY  # not at the top: its import triggers ours

    checkpoints = [f"{node}.checkpoint" for node in (ACTOR, "critic")]
    own_rewards = select(config, names.CUSTOM_REWARD_FUNCTION) is None
    own_rewards &= select(config, names.REWARD_MANAGER_NAME) == names.REWARD_MANAGER
    known = {
        names.RESUME_MODE: ("auto", "disable", "resume_path"),
        names.TRAINER_MODE: tuple(TRAINER_REGISTRY),
        names.DEVICE: ("cuda", "npu", "cpu"),
        f"{LOSS}.loss_mode": tuple(POLICY_LOSS_REGISTRY),
        f"{ACTOR}.loss_agg_mode": _AGGREGATIONS,
        f"{ACTOR}.optim.lr_scheduler_type": _SCHEDULES,
        f"{ACTOR}.optim.optimizer": _optimizers(config),
        f"{ACTOR}.kl_loss_type": (*_KL, *(f"{name}+" for name in _KL)),
        "algorithm.kl_penalty": (*_KL, *(f"{name}+" for name in _KL)),
        **{f"{node}.{name}_contents": _CONTENTS for node in checkpoints for name in ("save", "load")},
        f"{MODEL}.fused_kernel_options.impl_backend": ("torch", "triton", "liger"),
        f"{FILTER_GROUPS}.metric": _TERMS if own_rewards and select(config, f"{FILTER_GROUPS}.enable") else (),
        f"{ROLLOUT}.mode": ("async",),
        f"{ROLLOUT}.dtype": ("auto", "half", "float16", "bfloat16", "float", "float32"),
        f"{ROLLOUT}.quantization": ("fp8", "torchao", "ascend"),
        f"{_WEIGHTS_SENT_BY}.backend": () if select(config, f"{_WEIGHTS_SENT_BY}.custom_backend_module") else _ENGINES,
        _STORAGE: ("SimpleStorage", "MooncakeStore", "Yuanrong", "RayStore"),
        names.REWARD_MANAGER_SOURCE: ("register", "importlib"),
    }
    return {path: values for path, values in known.items() if values}


def _optimizers(config: DictConfig) -> tuple[str, ...]:
    """The optimizers of the module from which verl takes one; none where there is no such module on this machine."""
    try:
        module = importlib.import_module(str(select(config, f"{ACTOR}.optim.optimizer_impl")))
    except (ImportError, ValueError):  # verl says in a worker that there is no such module
        return ()
    return tuple(name for name, kind in vars(module).items() if callable(kind) and name != "Optimizer")


def check_setting_values(config: DictConfig) -> None:
    """Check that values are of the kind that verl expects, names among those that it knows, and numbers in their range.

    Args:
        config: the whole configuration.

    Raises:
        ConfigError: with one sentence for every value that is refused.
    """
    sentences = [*_unknown_names(config), *_wrong_kinds(config, verl_settings(), "")]
    if sentences := sentences or [*numbers_out_of_range(config)]:
        raise ConfigError(" ".join(sentences))


def _unknown_names(config: DictConfig) -> Iterator[str]:
    imported_later = any(select(config, path) for path in names.IMPORTED_LATER)
    for path, known in _choices(config).items():
        if path in _NEEDED and is_null(config, path):
            yield f"{path}=null is refused: use one of {', '.join(known)}."
        given = None if imported_later and path == f"{LOSS}.loss_mode" else select(config, path)  # may register more
        for name in [] if given is None else [given] if isinstance(given, str | bool | int | float) else given:
            if name not in known:
                close = difflib.get_close_matches(str(name), known, n=1)
                hint = f"did you mean {close[0]}? Otherwise use" if close else "use"
                yield f"{path}={name} is refused: {hint} one of {', '.join(known)}."


def _wrong_kinds(config: DictConfig, defaults: Mapping[str, Any], parent: str) -> Iterator[str]:
    """Sentences about texts where verl has a truth value or a number, and about truth values where it has a number."""
    for name, default in defaults.items():
        if name not in config or OmegaConf.is_missing(config, name):
            continue
        path, value = f"{parent}{name}", config[name]
        if isinstance(default, dict):
            if isinstance(value, DictConfig):
                yield from _wrong_kinds(value, default, f"{path}.")
        elif isinstance(value, str) and isinstance(default, bool):
            yield f"{path}={value!r} is refused: it should be true or false, and verl takes every other text for true."
        elif isinstance(default, int | float) and not isinstance(default, bool) and not _is_number(path, value):
            yield f"{path}={value!r} is refused: it should be a number, such as {default}."


def _is_number(path: str, value: Any) -> bool:
    """Whether a value is a number, or a text of one; true and false are none. Other kinds are left to verl."""
    if not isinstance(value, str):
        return not isinstance(value, bool)
    if path in NUMBER_OR_TEXT:
        return True
    try:
        float(value)
    except ValueError:
        return False
    return True
