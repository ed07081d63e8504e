# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What holds for every method of one file: its yaml has its defaults, and a run finds it by name."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from omegaconf import OmegaConf
from support.scripted import compose_config

from verl_mapo.training.method import Method
from verl_mapo.training.methods import RELATIVES, enabled_methods, estimator_method, relatives


@pytest.mark.parametrize("method", relatives(), ids=list(RELATIVES))
def test_yaml_of_a_method_has_its_settings_at_their_defaults_and_enables_it_alone(method):
    config = compose_config(f"method={method.name}")
    node = OmegaConf.select(config, method.Settings.NODE)
    assert OmegaConf.to_container(node) == asdict(method.Settings())
    assert method.Settings.NODE == f"algorithm.{method.name}"
    assert enabled_methods(config) == [method] and estimator_method(config) is method


def test_methods_that_the_lens_measures_bring_a_placebo():
    rows = {method.name: [row.name for row in method.lens_rows()] for method in relatives()}
    assert {name: names for name, names in rows.items() if names} == {
        name: [name, f"{name}, shuffled"] for name in ("hdpo", "naar", "pepo", "gdpo", "vppo", "srpo", "papo", "pgpo")
    }
    assert Method.lens_rows() == []
