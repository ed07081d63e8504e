# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Settings that are validated once, at start, and speak in sentences when they are wrong.

Every room describes its settings as a frozen pydantic dataclass; :func:`parse` builds one from the matching part of the
hydra configuration and turns pydantic's findings into one sentence a fault: the setting, its value, a right value.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

from omegaconf import OmegaConf
from pydantic import ConfigDict, TypeAdapter, ValidationError

STRICT = ConfigDict(extra="forbid")
"""pydantic configuration of every settings dataclass: unknown keys are errors."""

T = TypeVar("T")


class ConfigError(ValueError):
    """Something the user set cannot work; the message names the setting, its value and a right value."""


def parse(cls: type[T], node: Mapping[str, Any] | None, where: str) -> T:
    """Build the settings dataclass ``cls`` from a configuration node.

    Args:
        cls: a pydantic dataclass whose ``__pydantic_config__`` is :data:`STRICT`.
        node: a (hydra or plain) mapping, or None for all defaults.
        where: dotted path of the node in the configuration, for the message (``"algorithm.mapo"``).

    Raises:
        ConfigError: with one sentence for every fault found.
    """
    values = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else dict(node or {})
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        raise ConfigError(" ".join(_sentence(fault, cls, where) for fault in error.errors())) from None


def select(config: Any, path: str, default: Any = None) -> Any:
    """The value at a dotted path of a hydra configuration, or ``default`` where any part of the path is absent."""
    value = OmegaConf.select(config, path)
    return default if value is None else value


def credits_looks(config: Any) -> bool:
    """Whether the run of a hydra configuration multiplies its advantages by visual credit."""
    return select(config, "algorithm.adv_estimator") == "vgpo" or bool(select(config, "algorithm.visual_credit.enable"))


def _sentence(fault: Mapping[str, Any], cls: type, where: str) -> str:
    *path, last = (str(part) for part in fault["loc"]) if fault["loc"] else ("",)
    name = ".".join([where, *map(str, fault["loc"])])
    value = fault["input"]
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _known(cls, path)
        close = difflib.get_close_matches(last, known, n=1)
        hint = (
            f"did you mean {'.'.join([where, *path, *close])}?"
            if close
            else f"the settings here are {', '.join(known)}."
        )
        return f"{name}={value!r} is not a setting; {hint}"
    if fault["type"] == "missing":
        return f"{name} must be set."
    if not fault["loc"]:
        return f"{where}: {fault['msg'].removeprefix('Value error, ')}."
    return f"{name}={value!r} is refused: {_plain(fault)}."


def _known(cls: type, path: list[str]) -> list[str]:
    """Names of the settings of the dataclass that lies at ``path`` inside ``cls``."""
    for part in path:
        kind = get_type_hints(cls)[part]
        cls = next(choice for choice in (kind, *get_args(kind)) if is_dataclass(choice))
    return [field.name for field in fields(cls)]


def _plain(fault: Mapping[str, Any]) -> str:
    text = fault["msg"].removeprefix("Value error, ").replace("Input should be", "it should be")
    return text[0].lower() + text[1:]
