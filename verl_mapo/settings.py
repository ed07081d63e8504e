# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Typed settings. An invalid value raises ConfigError with the setting's name, its value and a valid value.

Every settings class is a frozen pydantic dataclass that names its node of the configuration in ``NODE``.
:func:`parse` builds one from a whole hydra configuration.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import is_pydantic_dataclass

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
"""pydantic configuration of every settings class: unknown keys, infinities and NaN are errors."""

T = TypeVar("T")

_OPTIONS = "--"
"""The node of settings that are options of a command."""

_ABSENT = object()


class ConfigError(ValueError):
    """A setting is invalid. The message names the setting, its value and a valid value."""


def parse(cls: type[T], config: Any) -> T:
    """Build a settings object from its node of a whole configuration.

    Args:
        cls: a pydantic dataclass with the configuration :data:`STRICT` and a class attribute ``NODE``, the dotted path
            of its node, such as ``"algorithm.mapo"``.
        config: the whole hydra configuration; where the node is absent, every setting has its default.

    Raises:
        ConfigError: with one sentence for every invalid setting, or because ``cls`` is no settings class.
    """
    if not isinstance(getattr(cls, "NODE", None), str):
        raise ConfigError(f"{_name_of(cls)} has no NODE: set it to the path of its settings, such as 'algorithm.mine'.")
    return parse_node(cls, select(config, cls.NODE), cls.NODE)


def parse_node(cls: type[T], node: Mapping[str, Any] | None, where: str) -> T:
    """Build a settings object from a mapping.

    Args:
        cls: a pydantic dataclass with the configuration :data:`STRICT`.
        node: a hydra or plain mapping; None for all defaults.
        where: dotted path of the node, for the messages.

    Raises:
        ConfigError: with one sentence for every invalid setting, or because ``cls`` is no settings class.
    """
    if not is_pydantic_dataclass(cls) or cls.__pydantic_config__.get("extra") != "forbid":
        raise ConfigError(
            f"{_name_of(cls)}, the settings class of {where}, must be a pydantic dataclass with config=STRICT (from "
            "verl_mapo.settings), because misspelt settings would otherwise be ignored."
        )
    if node is not None and not isinstance(node, Mapping | DictConfig):
        raise ConfigError(f"{where}={node!r} is refused: it holds several settings, for example {where}.NAME=VALUE.")
    values = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else dict(node or {})
    if sentences := list(_flags_for_numbers(cls, values, where)):
        raise ConfigError(" ".join(sentences))
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        raise ConfigError(" ".join(_sentence(fault, cls, where) for fault in error.errors())) from None


def parse_options(cls: type[T], options: Mapping[str, Any]) -> T:
    """Build a settings object from the options of a command, which the messages name as the user writes them.

    Args:
        cls: see :func:`parse_node`.
        options: by the name of the setting; an option has ``-`` in the place of ``_``.

    Raises:
        ConfigError: with one sentence for every invalid option, such as ``--top-p=2.0 is refused``.
    """
    return parse_node(cls, options, _OPTIONS)


def select(config: Any, path: str, default: Any = None) -> Any:
    """Read one value of a hydra configuration.

    Args:
        config: the whole configuration.
        path: dotted path of the value.
        default: returned if the value or any part of its path is absent or null.
    """
    value = OmegaConf.select(config, path)
    return default if value is None else value


def local_path(value: str | Path) -> Path:
    """The path of a setting or an option, with ``~`` replaced as in verl; ``~name`` stays if no such user exists."""
    return Path(os.path.expanduser(value))


def is_null(config: Any, path: str) -> bool:
    """Whether a hydra configuration gives null to a setting; an absent setting is not null.

    Args:
        config: the whole configuration.
        path: dotted path of the setting.
    """
    return OmegaConf.select(config, path, default=_ABSENT) is None


def count_at(config: Any, path: str) -> int:
    """Read a number of things, at least 1, of a hydra configuration.

    Args:
        config: the whole configuration.
        path: dotted path of the value.

    Raises:
        ConfigError: the value is absent, null, or no positive integer.
    """
    value = select(config, path)
    if not is_count(value):
        raise ConfigError(f"{path}={value} is refused: use an integer of at least 1, for example {path}=512.")
    return value


def _path(where: str, *path: Any) -> str:
    """The dotted path of a setting in a node, or the option of a command."""
    text = ".".join(map(str, path))
    return f"--{text.replace('_', '-')}" if where == _OPTIONS else ".".join(filter(None, (where, text)))


def is_count(value: Any) -> bool:
    """Whether a value is an integer of at least 1; True is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _name_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _flags_for_numbers(cls: type, values: Mapping[str, Any], where: str) -> Iterator[str]:
    """A sentence for each number that is given as true or false, which pydantic would read as 1 or 0."""
    hints = get_type_hints(cls)
    for name, value in values.items():
        kinds = _kinds(hints.get(name))
        if isinstance(value, bool) and bool not in kinds and (int in kinds or float in kinds):
            yield f"{_path(where, name)}={value} is refused: it should be a number."
        elif isinstance(value, Mapping):
            for kind in filter(is_dataclass, kinds):
                yield from _flags_for_numbers(kind, value, _path(where, name))


def _kinds(hint: Any) -> list[Any]:
    """A type hint and those inside it."""
    return [hint, *chain.from_iterable(map(_kinds, get_args(hint)))]


def _sentence(fault: Mapping[str, Any], cls: type, where: str) -> str:
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, ConfigError):  # raised by a validator; it names the setting itself
        return str(cause)
    *path, last = (str(part) for part in fault["loc"]) if fault["loc"] else ("",)
    name = _path(where, *fault["loc"])
    value = fault["input"]
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _known(cls, path)
        close = difflib.get_close_matches(last, known, n=1)
        hint = f"the settings here are {', '.join(known)}." if known else "there are no settings here."
        if close:
            hint = f"did you mean {_path(where, *path, *close)}?"
        return f"{name}={value!r} is not a setting; {hint}"
    if fault["type"] == "missing":
        return f"{name} must be set."
    if not fault["loc"]:
        return f"{where}: {fault['msg'].removeprefix('Value error, ')}."
    return f"{name}={value!r} is refused: {plain_reason(fault)}."


def _known(cls: type, path: list[str]) -> list[str]:
    """Names of the settings of the dataclass at ``path`` inside ``cls``."""
    for part in path:
        kind = get_type_hints(cls)[part]
        cls = next(choice for choice in (kind, *get_args(kind)) if is_dataclass(choice))
    return [field.name for field in fields(cls)]


def plain_reason(fault: Mapping[str, Any]) -> str:
    """What pydantic says of a wrong value, as the end of a sentence."""
    text = fault["msg"].removeprefix("Value error, ").replace("Input should be", "it should be")
    return text[0].lower() + text[1:]
