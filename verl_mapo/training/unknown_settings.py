# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The check for settings that neither verl nor this package has: misspelt ones, or ones added to the wrong node.

hydra refuses such a setting unless it is added with ``+``. verl's settings are those of its generated configurations,
those of the dataclasses that it makes of its nodes, and :data:`UNLISTED`. Below a node that verl leaves empty or null,
a run may add more: verl hands that on to another library (:mod:`verl_mapo.training.free_settings` checks it), or to
code of the user.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, get_args, get_type_hints

import yaml
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from verl_mapo import names
from verl_mapo.settings import ConfigError, select
from verl_mapo.training.dead_settings_conditions import NO_CRITIC, ROLLOUT
from verl_mapo.training.dead_settings_table import TABLE
from verl_mapo.training.free_settings import known_free_settings
from verl_mapo.training.setting_hints import nearest

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


OTHER_NODES = frozenset({"global_profiler", "custom_reward_function", "reward_model", "sandbox_fusion", "skip"})
OTHER_PARTS = frozenset({"profiler", "lora", "turbo_config", "qat", "transfer_queue"})
"""Nodes, and names of nodes, that are no good guess for what a user meant: those of profilers, of Megatron, of old
versions of verl."""


@dataclass(frozen=True)
class Node:
    """A node of the configuration whose settings are known.

    Attributes:
        path: its dotted path; empty for the whole configuration.
        values: what the run has there.
        known: what verl's configurations have there, of all engines.
        kind: the dataclass that verl makes of it, or None.
        own: see :func:`check_unknown_settings`.
    """

    path: str
    values: Mapping[Any, Any]
    known: Mapping[str, Any]
    kind: type | None
    own: frozenset[str]

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The fields of the dataclass with their types."""
        return get_type_hints(self.kind) if self.kind else {}

    @cached_property
    def listed(self) -> set[str]:
        """The names of its settings."""
        inside = self.below("")
        ours = (path.removeprefix(inside).partition(".")[0] for path in self.own if path.startswith(inside))
        return {*self.known, *self.fields, *UNLISTED.get(self.path, ()), *ours}

    @property
    def strict(self) -> bool:
        """Whether verl cannot read the node with a further setting."""
        return self.kind is not None and self.path != "algorithm"

    def below(self, name: Any) -> str:
        """The dotted path of a setting of the node."""
        return f"{self.path}.{name}" if self.path else f"{name}"

    def knows(self, name: Any) -> bool:
        return name in self.listed or self.below(name) in FREE

    def alive(self) -> list[str]:
        """The names of its settings in the engine of the run: verl's configurations list those of others, too."""
        names_of_run = dict.fromkeys([*self.values, *UNLISTED.get(self.path, ())])
        return [name for name in names_of_run if name in self.listed and not name.startswith("_")]


@dataclass(frozen=True)
class Alive:
    """A setting that a run can use.

    Attributes:
        path: its dotted path.
        is_node: whether it is a node that holds settings.
        part: the path of the node below which alone users mean it; empty for none. It is for settings of a part that is
            switched off, for those that have no effect in the run, and for the many that an engine takes.
        idle: it has no effect in the run, until another setting is changed.
    """

    path: str
    is_node: bool
    part: str
    idle: bool


@dataclass(frozen=True)
class Unknown:
    """A setting that nobody knows.

    Attributes:
        path: its dotted path.
        meant: the path of the setting of the run that is most like it in name and place; empty without one.
        stops: it has nearly the name of another setting of its node, or verl cannot read its node in a worker.
    """

    path: str
    meant: str
    stops: bool

    @property
    def sentence(self) -> str:
        if self.meant:
            return f"{self.path} is not a setting; did you mean {self.meant}?"
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
    if refused := [setting.sentence for setting in found if setting.stops]:
        raise ConfigError(" ".join(refused))
    for setting in found:
        logger.warning("verl-mapo: %s", setting.sentence)


def unknown_settings(config: DictConfig, own: Collection[str]) -> Iterator[Unknown]:
    """The settings of a run that nobody knows; the arguments are those of :func:`check_unknown_settings`."""
    nodes = list(_nodes(OmegaConf.to_container(config, resolve=False), verl_settings(), None, "", own))
    unknown = [(node, name) for node in nodes for name in node.values if not node.knows(name)]
    offered = alive_settings(config, nodes, own) if unknown else []
    for node, name in unknown:
        path, close = node.below(name), get_close_matches(str(name), node.listed, n=1, cutoff=0.85)
        fitting = [setting for setting in offered if not setting.is_node or isinstance(node.values[name], Mapping)]
        first = (setting.path for setting in fitting if path.startswith(setting.part and f"{setting.part}."))
        like = nearest(path, first) or nearest(path, (setting.path for setting in fitting if setting.idle))
        yield Unknown(path, like or "".join(map(node.below, close)), bool(close) or node.strict)


def alive_settings(config: DictConfig, nodes: Iterable[Node], own: Iterable[str]) -> list[Alive]:
    """The settings that a run can use: those of its engine that have an effect and take no other setting's value."""
    found = {node.path: (node.values, node.alive()) for node in nodes}
    for path in own:
        values = OmegaConf.to_container(select(config, path, OmegaConf.create({})), resolve=False)
        found[path] = values, list(values)
    off = [path for path, (values, _) in found.items() if _is_off(config, path, values)]
    rows = [row for row in TABLE if row.when.holds(config)]
    dead = {f"{row.node}.{name}" for row in rows if row.stops for name in row.values}
    idle_in = {f"{row.node}.{name}": row.node for row in rows for name in row.values}
    alive = []
    for path, (values, listed) in found.items():
        part = next((node for node in off if f"{path}.".startswith(f"{node}.")), "")
        for name in listed:
            here, value = f"{path}.{name}" if path else name, values.get(name)
            if here not in dead and not str(value).startswith("${"):
                is_node, idle = bool(value) and isinstance(value, Mapping), here in idle_in and not part
                alive.append(Alive(here, is_node, part or idle_in.get(here, ""), idle))
    free = known_free_settings(config)
    return alive + [Alive(path, False, ROLLOUT if path.startswith(f"{ROLLOUT}.") else "", False) for path in free]


def _is_off(config: DictConfig, path: str, values: Mapping[Any, Any]) -> bool:
    """Whether a node belongs to a part that the run has switched off, or that is for another engine or machine."""
    if path in OTHER_NODES or path.rpartition(".")[2] in OTHER_PARTS:
        return True
    return False in (values.get("enable"), values.get("enabled")) or (path == "critic" and NO_CRITIC.holds(config))


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


def _nodes(
    values: Mapping[Any, Any], known: Mapping[str, Any], kind: type | None, path: str, own: Collection[str]
) -> Iterator[Node]:
    """A node, of which verl makes an object of a dataclass, or of nothing, and the known nodes below it."""
    node = Node(path, values, known, kind, frozenset(own))
    yield node
    for name, value in values.items():
        here, below = node.below(name), known.get(name)
        if here in own or here in FREE or name not in node.listed or not isinstance(value, Mapping):
            continue
        kind_below = _dataclass(below, node.fields.get(name))
        known_below = below if isinstance(below, Mapping) else {}  # verl writes some nodes as interpolations
        if kind_below or known_below:
            yield from _nodes(value, known_below, kind_below, here, own)


def _dataclass(node: Any, hint: Any) -> type | None:
    """The dataclass that verl makes of a node: that of its ``_target_``, or of the field of the node above."""
    if isinstance(node, Mapping) and "_target_" in node:
        return get_class(node["_target_"])
    return next((kind for kind in (hint, *get_args(hint)) if isinstance(kind, type) and is_dataclass(kind)), None)
