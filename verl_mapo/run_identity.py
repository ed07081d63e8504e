# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The settings that decide which rollouts a run makes, kept in its folder, so that no others are added to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from verl_mapo import names
from verl_mapo.run_folder import RunFolder, write_whole
from verl_mapo.settings import ConfigError

_DECIDING = (
    names.MODEL_PATH,
    names.VISUAL_TOOL_NODE,
    names.MAX_ASSISTANT_TURNS,
    names.DEFAULT_AGENT_LOOP,
    names.PROMPT_LENGTH,
    names.RESPONSE_LENGTH,
    f"{names.ROLLOUT}.max_model_len",
    names.CHAT_TEMPLATE_KWARGS,
    names.MM_PROCESSOR_KWARGS,
    f"{names.ALIGNMENT_NODE}.outcome",
    f"{names.ALIGNMENT_NODE}.judge.model",
    names.CUSTOM_REWARD_FUNCTION,
)
"""Settings and nodes; a limit of failures, or how fast the rollouts are made, is none of them."""

_NOT_DECIDING = ("max_errors", "max_unreadable", "max_nonfinite_updates")
"""Settings of a deciding node that only say when a run stops."""


def deciding_settings(config: DictConfig, *others: str) -> dict[str, Any]:
    """The settings that decide what a model replies and how its replies are judged, by their dotted paths.

    Args:
        config: the whole configuration.
        others: further settings or nodes.
    """
    found: dict[str, Any] = {}
    for path in (*_DECIDING, *others):
        value = OmegaConf.select(config, path, throw_on_missing=False)
        if OmegaConf.is_config(value):
            value = OmegaConf.to_container(value, resolve=True)
        found.update(_leaves(path, value))
    return {path: value for path, value in found.items() if path.rpartition(".")[2] not in _NOT_DECIDING}


def claim(folder: RunFolder, asked: Mapping[str, Any]) -> None:
    """Write the settings of the rollouts of a folder, or check that those that it holds were made with the same ones.

    Args:
        folder: the folder of the run.
        asked: values that JSON can hold, by the name of their setting or option.

    Raises:
        ConfigError: the folder holds rollouts of other settings, of which the first is named.
    """
    text = json.dumps(asked, indent=1) + "\n"
    if not any(file.stat().st_size for file in folder.rollouts("val").values()):
        write_whole(folder.identity, text)
        return
    if not folder.identity.is_file():
        raise ConfigError(f"{folder.path} holds rollouts of another kind of run: give another folder.")
    held, asked = json.loads(folder.identity.read_text(encoding="utf-8")), json.loads(text)
    for name in sorted({*held, *asked}):
        if held.get(name) != asked.get(name):
            raise ConfigError(
                f"{folder.path} holds rollouts with {name}={held.get(name)}, and those with {asked.get(name)} are "
                "asked for: give another folder."
            )


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}", item)
    else:
        yield path, value
