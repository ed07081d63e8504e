# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Which methods a run uses, and in which order."""

from __future__ import annotations

import pytest
from support.scripted import compose_config

from verl_mapo.names import ESTIMATORS
from verl_mapo.relatives.naar import Naar
from verl_mapo.settings import ConfigError
from verl_mapo.training.axpo import Axpo
from verl_mapo.training.mapo import Mapo
from verl_mapo.training.method import Method
from verl_mapo.training.methods import METHODS, enabled_methods, estimator_method, relatives
from verl_mapo.training.visual_credit import VisualCredit


class Outside(Method):
    """A method of another package, as far as this module is concerned."""

    name = "outside"

    def advantages(self, step, rewards, response_mask):
        return rewards


@pytest.mark.parametrize(
    ("overrides", "expected", "estimator"),
    [
        (["method=mapo"], [Mapo], Mapo),
        (["method=axpo"], [Axpo], Axpo),
        (["method=axpo", "algorithm.axpo.alignment=true"], [Axpo, Mapo], Axpo),
        (["method=vgpo"], [VisualCredit], VisualCredit),
        (["method=naar", "algorithm.visual_credit.enable=true"], [Naar, VisualCredit], Naar),
        (["algorithm.adv_estimator=grpo"], [], None),
        (["algorithm.adv_estimator=grpo", "algorithm.visual_credit.enable=true"], [VisualCredit], None),
        (
            ["method=axpo", "algorithm.axpo.alignment=true", "algorithm.visual_credit.enable=true"],
            [Axpo, Mapo, VisualCredit],
            Axpo,
        ),
    ],
)
def test_configuration_decides_which_methods_are_enabled_and_which_estimator_is_used(overrides, expected, estimator):
    config = compose_config(*overrides)
    assert enabled_methods(config) == expected
    assert estimator_method(config) is estimator


def test_method_from_another_package_is_found_by_its_dotted_path_and_composes(monkeypatch):
    monkeypatch.setattr("verl_mapo.training.method.Outside", Outside, raising=False)
    path = "verl_mapo.training.method.Outside"
    config = compose_config(f"algorithm.adv_estimator={path}", "algorithm.visual_credit.enable=true")
    assert enabled_methods(config) == [Outside, VisualCredit] and estimator_method(config) is Outside


@pytest.mark.parametrize(
    ("path", "name"), [("verl_mapo.training.mapo:Mapo", "mapo"), ("verl_mapo.relatives.hdpo.Hdpo", "hdpo")]
)
def test_path_of_a_built_in_method_is_refused_in_favour_of_its_name(path, name):
    with pytest.raises(ConfigError, match=f"{path} is refused: use its name, {name}"):
        estimator_method(compose_config(f"algorithm.adv_estimator={path}"))


def test_dotted_path_of_something_else_is_refused():
    with pytest.raises(ConfigError, match="is not a subclass of verl_mapo.training.method.Method"):
        enabled_methods(compose_config("algorithm.adv_estimator=verl_mapo.settings.ConfigError"))


def test_estimators_given_to_verl_are_the_names_of_the_methods():
    estimators = {method.name for method in (*METHODS, *relatives()) if method.advantages is not Method.advantages}
    assert estimators == set(ESTIMATORS)


def test_method_without_advantages_is_refused_as_the_estimator(monkeypatch):
    monkeypatch.setattr("verl_mapo.training.method.Nothing", type("Nothing", (Method,), {"name": "x"}), raising=False)
    with pytest.raises(ConfigError, match=r"Nothing does not define advantages\(\)"):
        enabled_methods(compose_config("algorithm.adv_estimator=verl_mapo.training.method.Nothing"))
