# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The check for settings that have no effect in a run. They are listed in verl_mapo.training.dead_settings_table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from verl_mapo.settings import ConfigError, select

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Condition:
    """When settings have no effect.

    Attributes:
        words: the end of a sentence, such as "in verl 0.9.1".
        holds: whether it is so in a run with this configuration.
    """

    words: str
    holds: Callable[[DictConfig], bool]


@dataclass(frozen=True)
class Given(Condition):
    """The condition that a setting has one of some values; :func:`given` makes it.

    Attributes:
        path: dotted path of the setting.
        values: the values; None stands for a setting that is null or absent.
    """

    path: str
    values: tuple[Any, ...]


def given(path: str, *values: Any, words: str | None = None) -> Given:
    """The condition that a setting has one of these values; see :class:`Given`."""
    words = words or f"with {path}={' or '.join(map(_written, values))}"
    return Given(words, lambda config: _plain(select(config, path)) in values, path, values)


@dataclass(frozen=True)
class DeadSettings:
    """Settings of one node that have no effect under the same condition.

    Attributes:
        node: dotted path of the node.
        values: name of each setting, which may be a dotted path below the node, to the value at which nothing is said:
            the default, or ``${PATH}`` for the value of another setting. Nothing is said of a setting that is null.
        when: when they have no effect.
        stops: whether another value stops the run; otherwise it is a warning.
        instead: what to do instead, as the end of a sentence.
    """

    node: str
    values: Mapping[str, Any]
    when: Condition
    stops: bool
    instead: str

    def found(self, config: DictConfig) -> Iterator[str]:
        """A sentence for every one of these settings that a run has set although it has no effect."""
        if not self.when.holds(config):
            return
        for name, silent in self.values.items():
            path = f"{self.node}.{name}"
            value = _plain(select(config, path))
            if value is not None and value != _plain(_resolved(config, silent)):
                yield f"{path}={value} has no effect {self.when.words}: {self.instead}."


def off(node: str, values: Mapping[str, Any], when: Condition, instead: str) -> DeadSettings:
    """Settings of a part that is switched off under a condition; see :class:`DeadSettings`."""
    return DeadSettings(node, values, when, False, instead)


def check_dead_settings(config: DictConfig, table: Iterable[DeadSettings]) -> None:
    """Check that a run has set nothing that has no effect; rows of the table that do not stop a run are logged.

    Args:
        config: the whole configuration.
        table: the settings.

    Raises:
        ConfigError: with one sentence for every setting that stops the run.
    """
    found = [(row.stops, sentence) for row in table for sentence in row.found(config)]
    for stops, sentence in found:
        if not stops:
            logger.warning("verl-mapo: %s", sentence)
    if refused := [sentence for stops, sentence in found if stops]:
        raise ConfigError(" ".join(refused))


def _written(value: Any) -> str:
    """A value as it is written in an override."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _resolved(config: DictConfig, value: Any) -> Any:
    """The value of another setting for ``${PATH}``, any other value itself."""
    if isinstance(value, str) and value.startswith("${"):
        return select(config, value[2:-1])
    return value
