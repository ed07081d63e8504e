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

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def shelf(tmp_path_factory) -> Path:
    """A folder of this session, the same in all of its workers."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "toys"


@pytest.fixture(scope="session")
def toys(shelf) -> dict[str, SimpleNamespace]:
    """Smoke-size toys of both families."""
    return {family: make(shelf, "--family", family) for family in ("qwen2_5_vl", "qwen3_vl")}


@pytest.fixture(scope="session")
def photo_toy(shelf) -> SimpleNamespace:
    """The same, searched for in real photographs."""
    return make(shelf, "--background", "photos")


def make(shelf: Path, *options: str) -> SimpleNamespace:
    """A toy, made in a process of its own: the runs need the memory."""
    command = [sys.executable, "-m", "verl_mapo.cli", "data", "--out", str(shelf), "--size", "smoke", *options]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    paths = (Path(line.partition("=")[2]) for line in lines)
    return SimpleNamespace(**dict(zip(("train", "test", "model", "clip"), paths, strict=True)))
