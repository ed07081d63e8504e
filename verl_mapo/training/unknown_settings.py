# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The check for settings that neither verl nor this package has: misspelt ones, or ones added to the wrong node.

hydra refuses such a setting unless it is added with ``+``. verl's settings are those of its generated configurations,
those of the dataclasses that it makes of its nodes, and :data:`UNLISTED`. Below a node that verl leaves empty or null,
a run may add what it wants: verl hands that on to another library, or to code of the user.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from importlib.resources import files
from typing import Any, get_args, get_type_hints

import yaml
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from verl_mapo import names
from verl_mapo.settings import ConfigError

logger = logging.getLogger(__name__)

FREE = frozenset(
    {
        "ray_kwargs.ray_init",
        "global_profiler",
        "transfer_queue",
        "distillation.teacher_models",
        "actor_rollout_ref.model.lora",
        "critic.model.lora",
    }
)
"""Nodes that have settings in verl's configuration and take further ones: those of ray, a profiler, Megatron, ..."""

UNLISTED: Mapping[str, tuple[str, ...]] = {
    "": ("model_engine",),
    "algorithm": ("gdpo_reward_keys", "gdpo_reward_weights"),
    "data": ("cache_dir", "chat_template_func", "filter_prompts", "need_tools_kwargs"),
    "reward": ("reward_kwargs", "timeout", "max_concurrent", "max_rpm", "max_tpm", "estimated_tokens_per_request"),
    names.CUSTOM_REWARD_FUNCTION.removesuffix(".path"): ("reward_kwargs",),
    "reward_model": ("reward_kwargs",),
    "trainer": ("remove_previous_ckpt_in_save", "wandb_proxy", "rl_insight"),
    **{
        f"{node}.wrap_policy": ("transformer_layer_cls_to_wrap",)
        for node in ("actor_rollout_ref.actor.fsdp_config", "actor_rollout_ref.ref.fsdp_config", "critic.fsdp")
    },
}
"""Node to the settings that verl 0.9.1 reads there although neither its configuration nor a dataclass lists them."""


@dataclass(frozen=True)
class Unknown:
    """A setting that nobody knows.

    Attributes:
        path: its dotted path.
        meant: the path of the setting of the same node whose name is nearly the same; empty without one.
        elsewhere: the nearest setting of another node that has the same name; empty without one.
        fails: verl makes a dataclass of the node, which fails in a worker.
    """

    path: str
    meant: str
    elsewhere: str
    fails: bool

    @property
    def sentence(self) -> str:
        if self.meant or self.elsewhere:
            return f"{self.path} is not a setting; did you mean {self.meant or self.elsewhere}?"
        return f"{self.path} is not a setting of verl or of this package: remove it, unless code of yours reads it."


def check_unknown_settings(config: DictConfig, own: Collection[str]) -> None:
    """Check that a run has no misspelt setting, and log settings that only code of the user can know.

    Args:
        config: the whole configuration.
        own: dotted paths of this package's settings in nodes of verl, and of its nodes, whose settings classes refuse
            unknown settings themselves.

    Raises:
        ConfigError: a setting has nearly the name of another one of its node, or verl could not read its node.
    """
    found = list(unknown_settings(config, own))
    if refused := [setting.sentence for setting in found if setting.meant or setting.fails]:
        raise ConfigError(" ".join(refused))
    for setting in found:
        logger.warning("verl-mapo: %s", setting.sentence)


def unknown_settings(config: DictConfig, own: Collection[str]) -> Iterator[Unknown]:
    """The settings of a run that nobody knows; the arguments are those of :func:`check_unknown_settings`."""
    return _unknown(OmegaConf.to_container(config, resolve=False), verl_settings(), None, "", own)


@cache
def verl_settings() -> dict[str, Any]:
    """The nodes of verl's configurations for all of its engines; a node that one of them leaves empty is empty."""
    merged: dict[str, Any] = {}
    for file in sorted(files("verl.trainer.config").iterdir(), key=str):
        if file.name.startswith("_generated_ppo") and file.name.endswith(".yaml"):
            _merge(merged, yaml.load(file.read_text(), yaml.CSafeLoader))
    return merged


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for name, value in other.items():
        both = into.get(name), value
        if name in into and all(isinstance(node, dict) and node for node in both):
            _merge(*both)
        elif name not in into or both[0]:
            into[name] = value


def _unknown(
    node: Mapping[Any, Any], known: Mapping[str, Any], kind: type | None, path: str, own: Collection[str]
) -> Iterator[Unknown]:
    """The unknown settings of a node, of which verl makes an object of a dataclass, or of nothing."""
    inside = f"{path}." if path else ""
    kinds = get_type_hints(kind) if kind else {}
    listed = {*known, *kinds, *UNLISTED.get(path, ())}
    listed |= {other.removeprefix(inside).partition(".")[0] for other in own if other.startswith(inside)}
    for name, value in node.items():
        here, below = f"{inside}{name}", known.get(name)
        if here in own or here in FREE:
            continue
        if name not in listed:
            close = difflib.get_close_matches(str(name), listed, n=1, cutoff=0.85)
            yield Unknown(
                here, f"{inside}{close[0]}" if close else "", _elsewhere(here), kind is not None and path != "algorithm"
            )
        elif isinstance(value, Mapping):
            kind_below = _dataclass(below, kinds.get(name))
            known_below = below if isinstance(below, Mapping) else {}  # verl writes some nodes as interpolations
            if kind_below or known_below:
                yield from _unknown(value, known_below, kind_below, here, own)


def _dataclass(node: Any, hint: Any) -> type | None:
    """The dataclass that verl makes of a node: that of its ``_target_``, or of the field of the node above."""
    if isinstance(node, Mapping) and "_target_" in node:
        return get_class(node["_target_"])
    return next((kind for kind in (hint, *get_args(hint)) if isinstance(kind, type) and is_dataclass(kind)), None)


def _elsewhere(path: str) -> str:
    """The setting of verl below the same top node with the same name, and with most nodes of the path."""
    top, *nodes = path.split(".")
    found = [other for other in _paths(verl_settings()) if nodes and other.startswith(f"{top}.")]
    same = [other for other in found if other.endswith(f".{nodes[-1]}")]
    return max(same, key=lambda other: (len({*nodes[:-1]} & {*other.split(".")}), -other.count(".")), default="")


def _paths(node: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, value in node.items():
        yield f"{path}{name}"
        if isinstance(value, Mapping):
            yield from _paths(value, f"{path}{name}.")
