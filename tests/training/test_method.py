# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The base class of methods: every hook does nothing, and settings come from the class's node."""

from __future__ import annotations

import inspect
from typing import ClassVar

import pytest
from pydantic.dataclasses import dataclass
from support.scripted import compose_config

from verl_mapo.settings import STRICT, ConfigError
from verl_mapo.training.method import Method
from verl_mapo.training.methods import METHODS


@dataclass(frozen=True, config=STRICT)
class Settings:
    """Settings of the method below."""

    NODE: ClassVar[str] = "algorithm.small"

    size: int = 3


class Small(Method):
    """A method with settings and nothing else."""

    name = "small"
    Settings = Settings


def test_hooks_of_the_base_class_change_nothing():
    method = Method(compose_config())
    assert method.log_prob_request() == {} and method.metrics(None) == {} and method.records(None) == {}
    for hook in (method.check, method.configure):
        assert hook() is None
    assert method.before_advantage(None) is None and method.after_advantage(None) is None


def test_settings_come_from_the_node_and_invalid_ones_name_it():
    assert Small(compose_config()).settings.size == 3
    assert Small(compose_config("+algorithm.small.size=5")).settings.size == 5
    with pytest.raises(ConfigError, match="did you mean algorithm.small.size"):
        Small(compose_config("+algorithm.small.sise=5"))


def test_method_without_advantages_says_so_when_it_is_the_estimator():
    with pytest.raises(TypeError, match="Small"):
        Small(compose_config()).advantages(None, None, None)


def test_every_hook_of_a_method_is_one_of_the_base_class():
    """A misspelt hook would never be called."""
    known = {"name", *(name for name, _ in inspect.getmembers(Method))}
    for method in METHODS:
        own = {name for name in vars(method) if not name.startswith("_")}
        assert own <= known, (method, own - known)
