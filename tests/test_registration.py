# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What verl's registries hold. Each test uses a fresh process, because an import hook cannot be removed."""

from __future__ import annotations

import pytest
from support.fresh import printed

from verl_mapo import names
from verl_mapo.registration import TABLE

REGISTERED = """
import sys
import verl
loaded = sorted(name for name in sys.modules if name.partition(".")[0] == "verl_mapo")
from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY
from verl.trainer.ppo.v1 import get_trainer_cls
print(*loaded)
print("mapo" in ADV_ESTIMATOR_REGISTRY, get_trainer_cls("sync").__name__, get_trainer_cls("separate_async").__name__)
"""

EXTENDED = "True VisualPPOTrainerSync VisualPPOTrainerSeparateAsync"
STOCK = "False PPOTrainerSync PPOTrainerSeparateAsync"


def test_import_of_verl_loads_the_plugin_and_nothing_that_registers_a_name():
    loaded, registered = printed(REGISTERED)[-2:]
    assert set(loaded.split()) == {
        "verl_mapo",
        "verl_mapo.logs",
        "verl_mapo.names",
        "verl_mapo.platforms",
        "verl_mapo.platforms.cpu",
        "verl_mapo.platforms.cpu_device",
        "verl_mapo.registration",
    }
    assert registered == EXTENDED


def test_entry_point_and_external_module_may_be_used_together():
    assert printed(REGISTERED, VERL_USE_EXTERNAL_MODULES="verl_mapo.registration")[-1] == EXTENDED


def test_verl_without_the_plugin_is_unchanged():
    assert printed(REGISTERED, VERL_USE_EXTERNAL_PLUGINS="none")[-1] == STOCK


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.kind)
def test_module_of_an_entry_may_be_imported_before_verl(entry):
    """Its import triggers verl's, whose import hook asks for the module that is being imported."""
    assert printed(f"import {entry.module}\n{REGISTERED}")[-1] == EXTENDED


def test_table_registers_every_name():
    registered = {name for entry in TABLE for name in entry.names}
    given = {*names.ESTIMATORS, *names.TRAINERS, *names.ENGINES, names.AGENT_LOOP, names.REWARD_MANAGER}
    assert registered == given
