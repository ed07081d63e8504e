# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Freezing of the vision tower: ``actor.freeze_vision_tower`` of verl, which verl 0.9.1 has and does not read.

The parameters of the tower, its merger included, need no gradient before FSDP wraps the model, so they get none, and
the optimizer does not hold them. :class:`verl_mapo.training.method_engine.MethodEngine` does it; the setting reaches it
as an attribute of the settings of its engine, which this module gives to the actor's alone. SFT has the setting in its
node ``engine``, of the class :class:`TowerEngineConfig`.

The engine notes in each checkpoint whether the tower was frozen: a run can only go on with the same value, because its
optimizer holds the states of the trained parameters alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wrapt
from omegaconf import DictConfig
from torch import nn
from verl.workers.config.actor import FSDPActorConfig
from verl.workers.config.engine import FSDPEngineConfig

from verl_mapo.names import CHECKPOINT_DIR, ENGINES
from verl_mapo.run_folder import write_whole
from verl_mapo.settings import ConfigError, select
from verl_mapo.training.going_on import resumed_checkpoint

FREEZE = "freeze_vision_tower"
"""The setting, in verl's node of the actor and in the settings of an engine."""

_NOTE = "frozen_tower.json"
"""The file in a checkpoint of an engine that holds the setting's value."""


@dataclass
class TowerEngineConfig(FSDPEngineConfig):
    """verl's settings of an FSDP engine, and whether the vision tower is frozen.

    Attributes:
        freeze_vision_tower: whether the vision tower and its merger are left as they are.
    """

    freeze_vision_tower: bool = False


def check_frozen_tower(config: DictConfig, node: str, engine: str) -> None:
    """Check that an engine can freeze the vision tower, if it is asked to.

    Args:
        config: the whole configuration.
        node: dotted path of the node with ``freeze_vision_tower`` and ``strategy``.
        engine: dotted path of the settings of the engine.

    Raises:
        ConfigError: FSDP1 flattens frozen and trained parameters into one, or it is no FSDP engine.
    """
    if not select(config, f"{node}.{FREEZE}"):
        return
    strategy = select(config, f"{node}.strategy")
    if strategy not in ENGINES:
        raise ConfigError(
            f"{node}.{FREEZE}=true is refused with {node}.strategy={strategy}, which does not read it: set "
            f"{node}.strategy=fsdp2, or leave it out."
        )
    if strategy == "fsdp" and not select(config, f"{engine}.use_orig_params"):
        raise ConfigError(
            f"{node}.{FREEZE}=true is refused with {node}.strategy=fsdp, which joins frozen and trained parameters "
            f"into one: set {node}.strategy=fsdp2, or {engine}.use_orig_params=true."
        )


def write_note(checkpoint: str | Path, frozen: bool) -> None:
    """Note in a checkpoint of an engine whether the vision tower was frozen."""
    write_whole(Path(checkpoint) / _NOTE, json.dumps({FREEZE: frozen}))


def check_resumed_tower(config: DictConfig, node: str, checkpoints: str, part: str = "") -> None:
    """Check that the checkpoint from which a run will go on was written with the same setting.

    A checkpoint without a note, such as one of verl's own engine, is not checked.

    Args:
        config: the whole configuration.
        node: dotted path of the node with ``freeze_vision_tower``.
        checkpoints: dotted path of the node with ``load_contents``.
        part: folder of the engine's part in a checkpoint.

    Raises:
        ConfigError: it was not; naming the setting, its value and the checkpoint's.
    """
    checkpoint = resumed_checkpoint(config)
    if checkpoint is None or "optimizer" not in select(config, f"{checkpoints}.load_contents", ()):
        return
    note, asked = checkpoint / part / _NOTE, bool(select(config, f"{node}.{FREEZE}"))
    if not note.is_file() or json.loads(note.read_text())[FREEZE] is asked:
        return
    was, now = (str(value).lower() for value in (not asked, asked))
    raise ConfigError(
        f"{node}.{FREEZE}={now} is refused, because the run goes on from {checkpoint}, which was written with {was}, "
        f"and whose optimizer holds other parameters: set {node}.{FREEZE}={was}, or another {CHECKPOINT_DIR}."
    )


def vision_tower(model: nn.Module) -> nn.Module:
    """The vision tower of a model, with its merger.

    Args:
        model: a model of transformers, with adapters of peft or without.

    Raises:
        ConfigError: it has none.
    """
    towers = [module for name, module in model.named_modules() if name.rpartition(".")[2] == "visual"]
    if not towers:
        raise ConfigError(
            f"{FREEZE}=true, but the model {type(model).__name__} has no module named visual, as the models of the "
            "Qwen-VL families have: leave it out."
        )
    return towers[0]


def freeze(model: nn.Module) -> None:
    """Let no parameter of the vision tower get a gradient; adapters in the tower are frozen as well.

    Raises:
        ConfigError: see :func:`vision_tower`.
    """
    vision_tower(model).requires_grad_(False)


def _after_init(init: Callable[..., None], actor: FSDPActorConfig, args: Any, kwargs: Any) -> None:
    init(*args, **kwargs)
    object.__setattr__(actor.engine, FREEZE, actor.freeze_vision_tower)


FSDPActorConfig.__post_init__ = wrapt.FunctionWrapper(FSDPActorConfig.__post_init__, _after_init)
