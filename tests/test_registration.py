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
"""What verl sees, in processes of its own: import hooks cannot be undone in this one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from verl_mapo.doctor import VERL_SYMBOLS, missing_symbols
from verl_mapo.registration import TABLE

LOOK = """
import verl, sys
light = sorted(m for m in sys.modules if m.startswith("verl_mapo"))
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY
from verl.trainer.ppo.v1 import get_trainer_cls
print(light)
print("mapo" in ADV_ESTIMATOR_REGISTRY, get_trainer_cls("sync").__name__, get_trainer_cls("separate_async").__name__)
"""


def look(code: str = LOOK, **env: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_importing_verl_loads_the_plugin_and_little_of_it():
    loaded, registered = look().strip().splitlines()[-2:]
    assert "verl_mapo.registration" in loaded
    assert not any(room in loaded for room in ("rollout", "rewards", "training", "advantages", "report"))
    assert registered == "True VisualPPOTrainerSync VisualPPOTrainerSeparateAsync"


def test_both_ways_at_once_are_harmless():
    assert (
        look(VERL_USE_EXTERNAL_MODULES="verl_mapo.registration")
        .strip()
        .endswith("True VisualPPOTrainerSync VisualPPOTrainerSeparateAsync")
    )


def test_without_the_plugin_verl_is_stock():
    assert look(VERL_USE_EXTERNAL_PLUGINS="none").strip().endswith("False PPOTrainerSync PPOTrainerSeparateAsync")


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.kind)
def test_any_of_our_modules_may_be_imported_first(entry):
    """Its import brings verl in, whose hook asks for the module that is being imported."""
    assert (
        look(f"import {entry.module}\n{LOOK}")
        .strip()
        .endswith("True VisualPPOTrainerSync VisualPPOTrainerSeparateAsync")
    )


@pytest.mark.parametrize("symbol", VERL_SYMBOLS)
def test_verl_still_has(symbol):
    assert symbol not in missing_symbols()
