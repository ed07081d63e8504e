# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Which modules of a model get LoRA adapters under a configuration of verl, before the model is loaded."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

from omegaconf import DictConfig, OmegaConf
from verl.utils.model import check_exclude_modules, check_target_modules

from verl_mapo.settings import ConfigError, local_path, select
from verl_mapo.training.dead_settings_conditions import MODEL

_MODULES = ("target_modules", "exclude_modules")
_ADAPTER_PATH = f"{MODEL}.lora_adapter_path"
_ADAPTER_FILE = "adapter_config.json"

VISION_TOWER = (
    *(
        f"model.visual.blocks.{block}.{name}"
        for block in (0, 20)
        for name in (
            *("attn.qkv", "attn.proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
            *("mlp.linear_fc1", "mlp.linear_fc2", "mlp.fc1", "mlp.fc2"),
        )
    ),
    *(f"model.visual.merger.{name}" for name in ("mlp.0", "mlp.2", "linear_fc1", "linear_fc2")),
    *(f"model.visual.deepstack_merger_list.0.{name}" for name in ("linear_fc1", "linear_fc2")),
)
"""Linear modules of the vision towers of the Qwen families, in two of the blocks."""


_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_TARGETS = f"set it to [q_proj,v_proj], or to all-linear with {MODEL}.exclude_modules='.*visual.*'"
_EXCLUDED = "set it to '.*visual.*', or to null"


def check_adapters(config: DictConfig) -> None:
    """Check that the adapter that FSDP goes on with is there, or that new ones name modules as peft can read them.

    An address such as ``hdfs://`` and a name on the hub are left to verl and peft.

    Raises:
        ConfigError: naming the setting, its value and a valid value.
    """
    if select(config, f"{MODEL}.lora_rank", 0) < 1:
        return
    if adapter := select(config, _ADAPTER_PATH):
        folder = local_path(adapter)
        elsewhere = "://" in adapter or (_HUB_NAME.fullmatch(adapter) and not folder.exists())
        if not elsewhere and not (folder / _ADAPTER_FILE).is_file():
            raise ConfigError(
                f"{_ADAPTER_PATH}={adapter} is refused: it is no folder with an {_ADAPTER_FILE}. Set it to the folder "
                "of an adapter, or to null for a new one."
            )
        return
    targets, excluded = (_plain(config, name) for name in _MODULES)
    for name, value, remedy in zip(_MODULES, (targets, excluded), (_TARGETS, _EXCLUDED), strict=True):
        try:
            re.compile(value if isinstance(value, str) else "")
        except re.error as error:
            raise ConfigError(
                f"{MODEL}.{name}={value!r} is refused: it is no regular expression ({error}); {remedy}."
            ) from None
    if not targets and not (targets is None and select(config, f"{MODEL}.target_parameters")):
        written = "null" if targets is None else targets
        raise ConfigError(f"{MODEL}.{_MODULES[0]}={written} is refused: no module gets an adapter; {_TARGETS}.")


def adapter_rank(config: DictConfig) -> int:
    """The rank of the adapters of a run, for FSDP or for Megatron; 0 without LoRA."""
    return max(select(config, f"{MODEL}.lora_rank", 0), select(config, f"{MODEL}.lora.rank", 0))


def is_merged(config: DictConfig) -> bool:
    """Whether rollout engines get the weights with the adapters in them, and no adapters."""
    return bool(select(config, f"{MODEL}.lora.merge", False))


def adapts_vision_tower(config: DictConfig) -> bool:
    """Whether verl's FSDP engines put adapters into the vision tower, by peft's rules for names of modules.

    An adapter that a run goes on with (``lora_adapter_path``) has its own list of modules; one that is not on this
    machine is taken for one without the vision tower.
    """
    if select(config, f"{MODEL}.lora_rank", 0) < 1:
        return False
    modules = SimpleNamespace(**{name: _plain(config, name) for name in _MODULES})
    if adapter := select(config, _ADAPTER_PATH):
        file = local_path(adapter) / _ADAPTER_FILE
        if not file.is_file():
            return False
        written = json.loads(file.read_text())
        modules = SimpleNamespace(**{name: written.get(name) for name in _MODULES})
    return any(
        modules.target_modules is not None  # target_parameters names weights instead
        and not check_exclude_modules(modules, name)
        and (modules.target_modules == "all-linear" or bool(check_target_modules(modules, name)))
        for name in VISION_TOWER
    )


def _plain(config: DictConfig, name: str) -> str | list[str] | None:
    value = select(config, f"{MODEL}.{name}")
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
