# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The suites of papers name sets of this package, settings that a run takes, and published rows with their source."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_module
from typer.testing import CliRunner

from verl_mapo.cli import app
from verl_mapo.evaluation.passes import PassSettings
from verl_mapo.evaluation.suites import suite, suite_names
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError, parse


@pytest.mark.parametrize("name", suite_names())
def test_a_suite_can_be_run(name):
    found = suite(name)
    for protocol in found.protocols:
        PassSettings(protocol=protocol, k=found.k, temperature=found.temperature)
    with initialize_config_module("verl_mapo.config", version_base=None):
        parse(VisualToolSettings, compose("bench", found.overrides))
    assert all(row.source and set(row.shares) <= set(found.benchmarks) for row in found.reference)
    assert all(0 < share < 100 for row in found.reference for share in row.shares.values())


def test_the_command_shows_published_rows_and_how_to_run_them():
    done = CliRunner().invoke(app, ["bench", "suite", "mapo"], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    assert "75.3" in done.stdout and "Metis, README" in done.stdout and "8 samples at temperature 1" in done.stdout
    assert "verl-mapo bench run --suite mapo --model MODEL --out bench/mapo" in done.stdout
    listed = CliRunner().invoke(app, ["bench", "suite"]).stdout
    assert all(name in listed for name in suite_names())
    with pytest.raises(ConfigError, match="--suite papo is refused: the suites are axpo, mapo, vgpo"):
        suite("papo")
