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

import pytest

from verl_mapo.data.prepare import prepare
from verl_mapo.data.visual_search import VisualSearch


@pytest.fixture(scope="session")
def toys(tmp_path_factory):
    """Smoke-size toys of both families."""
    folder = tmp_path_factory.mktemp("toys")
    return {family: prepare(folder, family, "smoke") for family in ("qwen2_5_vl", "qwen3_vl")}


@pytest.fixture(scope="session")
def photo_toy(tmp_path_factory):
    """The same, searched for in real photographs."""
    return prepare(tmp_path_factory.mktemp("photos"), "qwen2_5_vl", "smoke", VisualSearch(background="photos"))
