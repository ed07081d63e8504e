# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from omegaconf import OmegaConf
from pydantic import field_validator
from pydantic.dataclasses import dataclass

from verl_mapo.settings import STRICT, ConfigError, local_path, parse, parse_node, parse_options, select


@dataclass(frozen=True, config=STRICT)
class Inner:
    beta: float = 0.4
    how: Literal["mean", "sum"] = "mean"


@dataclass(frozen=True, config=STRICT)
class Settings:
    NODE: ClassVar[str] = "algorithm.some"

    inner: Inner | None = None
    limit: int = 3

    @field_validator("limit")
    @classmethod
    def _refuse_thirteen(cls, limit: int) -> int:
        if limit == 13:
            raise ConfigError("algorithm.some.limit=13 brings bad luck: set it to 12.")
        return limit


@dataclass(frozen=True, config=STRICT)
class Empty:
    pass


def test_true_and_false_are_no_numbers_in_any_node():
    node = {"limit": False, "inner": {"beta": True}}
    assert message(Settings, node) == (
        "a.b.limit=False is refused: it should be a number. a.b.inner.beta=True is refused: it should be a number."
    )


def test_values_of_the_node_are_read_and_others_have_defaults():
    config = OmegaConf.create({"algorithm": {"some": {"inner": {"beta": 1}}}})
    assert parse(Settings, config) == Settings(Inner(1.0, "mean"), 3)


@pytest.mark.parametrize("config", [{}, {"algorithm": None}, {"algorithm": {"some": None}}])
def test_absent_node_gives_defaults(config):
    assert parse(Settings, OmegaConf.create(config)) == Settings()


def test_references_in_the_node_are_resolved():
    config = OmegaConf.create({"n": 5, "algorithm": {"some": {"limit": "${n}"}}})
    assert parse(Settings, config).limit == 5


def message(cls: type, node: dict) -> str:
    with pytest.raises(ConfigError) as error:
        parse_node(cls, node, "a.b")
    return str(error.value)


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        ({"betta": 1}, "a.b.betta=1 is not a setting; did you mean a.b.beta?"),
        ({"zzz": 1}, "a.b.zzz=1 is not a setting; the settings here are beta, how."),
        ({"beta": "much"}, "a.b.beta='much' is refused: it should be a valid number"),
        ({"beta": float("nan")}, "a.b.beta=nan is refused: it should be a finite number"),
        ({"how": "max"}, "a.b.how='max' is refused: it should be 'mean' or 'sum'"),
        ({"beta": True}, "a.b.beta=True is refused: it should be a number."),
    ],
)
def test_message_names_setting_value_and_remedy(node, sentence):
    assert sentence in message(Inner, node)


def test_message_of_a_nested_setting_names_its_whole_path():
    assert (
        message(Settings, {"inner": {"beta_": 1}}) == "a.b.inner.beta_=1 is not a setting; did you mean a.b.inner.beta?"
    )


def test_message_says_that_there_are_no_settings():
    assert message(Empty, {"x": 1}) == "a.b.x=1 is not a setting; there are no settings here."


def test_message_of_a_validator_is_kept():
    assert message(Settings, {"limit": 13}) == "algorithm.some.limit=13 brings bad luck: set it to 12."


def test_message_names_all_faults():
    found = message(Inner, {"beta": "x", "how": "y"})
    assert "a.b.beta='x'" in found and "a.b.how='y'" in found


def test_select_returns_the_default_where_a_part_of_the_path_is_absent():
    config = OmegaConf.create({"a": {"b": None, "c": 3}})
    assert (select(config, "a.c"), select(config, "a.b", 5), select(config, "x.y.z")) == (3, 5, None)


def test_home_of_a_user_is_replaced_and_of_no_user_stays():
    assert local_path("~/a") == Path.home() / "a" and local_path("a/~b") == Path("a/~b")
    assert local_path("~nobody_here/a") == Path("~nobody_here/a")


@dataclass(frozen=True)
class Lenient:
    """A settings class that would ignore misspelt settings."""

    NODE: ClassVar[str] = "node"
    size: int = 1


def test_settings_class_that_would_ignore_unknown_keys_is_refused():
    with pytest.raises(ConfigError, match="Lenient, the settings class of node, must be a pydantic dataclass with"):
        parse(Lenient, OmegaConf.create({}))


def test_settings_class_without_a_node_is_refused():
    with pytest.raises(ConfigError, match="has no NODE"):
        parse(int, OmegaConf.create({}))


@dataclass(frozen=True, config=STRICT)
class Sampling:
    top_p: float = 1.0
    how: Literal["mean", "sum"] = "mean"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"top_p": "much"}, "--top-p='much' is refused: it should be a valid number"),
        ({"top_p": True}, "--top-p=True is refused: it should be a number."),
        ({"how": "max"}, "--how='max' is refused"),
        ({"top_ps": 1}, "--top-ps=1 is not a setting; did you mean --top-p?"),
    ],
)
def test_options_of_a_command_are_named_as_the_user_writes_them(given, sentence):
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}"):
        parse_options(Sampling, given)
    assert parse_options(Sampling, {"top_p": 0.5}) == Sampling(0.5)
