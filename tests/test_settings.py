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
from typing import Literal

import pytest
from omegaconf import OmegaConf
from pydantic.dataclasses import dataclass

from verl_mapo.settings import STRICT, ConfigError, parse, select


@dataclass(frozen=True, config=STRICT)
class Some:
    beta: float = 0.4
    how: Literal["mean", "sum"] = "mean"


def test_values_and_defaults():
    assert parse(Some, None, "x") == Some()
    assert parse(Some, OmegaConf.create({"beta": 1, "how": "sum"}), "x") == Some(1.0, "sum")


@dataclass(frozen=True, config=STRICT)
class Outer:
    some: Some | None = None


def test_a_hint_looks_where_the_fault_is():
    with pytest.raises(ConfigError, match="o.some.beta_=1 is not a setting; did you mean o.some.beta?"):
        parse(Outer, {"some": {"beta_": 1}}, "o")


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        ({"betta": 1}, "a.b.betta=1 is not a setting; did you mean a.b.beta?"),
        ({"zzz": 1}, "a.b.zzz=1 is not a setting; the settings here are beta, how."),
        ({"beta": "much"}, "a.b.beta='much' is refused: it should be a valid number"),
        ({"how": "max"}, "a.b.how='max' is refused: it should be 'mean' or 'sum'"),
    ],
)
def test_faults_are_sentences_that_name_setting_value_and_remedy(node, sentence):
    with pytest.raises(ConfigError) as error:
        parse(Some, node, "a.b")
    assert sentence in str(error.value)


def test_every_fault_is_told_at_once():
    with pytest.raises(ConfigError) as error:
        parse(Some, {"beta": "x", "how": "y"}, "a")
    assert "a.beta='x'" in str(error.value) and "a.how='y'" in str(error.value)


def test_select_survives_missing_parts():
    config = OmegaConf.create({"a": {"b": None, "c": 3}})
    assert (select(config, "a.c"), select(config, "a.b", 5), select(config, "x.y.z")) == (3, 5, None)
