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
"""The one table of every name this package adds to verl. Importing this module registers them; twice is harmless.

verl imports it at the end of ``import verl`` in every process, through the entry point group ``verl.plugins`` (or
through ``VERL_USE_EXTERNAL_MODULES=verl_mapo.registration``). So it stays light: each entry is written into verl's
registry when verl itself imports the module that holds the registry.
"""

from __future__ import annotations

import importlib
from functools import partial
from types import ModuleType
from typing import NamedTuple

import wrapt

from verl_mapo.platforms import cpu


class Entry(NamedTuple):
    """Names of one kind, and where both sides of their registration live.

    Attributes:
        kind: as verl calls it.
        names: what a configuration can say.
        registry: verl's module that holds the registry; importing it brings ours in.
        module: ours, which registers itself with verl's decorator when it is imported.
    """

    kind: str
    names: tuple[str, ...]
    registry: str
    module: str


TABLE = (
    Entry(
        "advantage estimator", ("mapo", "axpo", "vgpo"), "verl.trainer.ppo.core_algos", "verl_mapo.training.estimators"
    ),
    Entry("trainer", ("sync", "colocate_async", "separate_async"), "verl.trainer.ppo.v1", "verl_mapo.training.trainer"),
    Entry(
        "engine",
        ("fsdp", "fsdp2"),
        "verl.workers.engine.fsdp.transformer_impl",
        "verl_mapo.training.focus_engine",
    ),
    Entry("agent loop", ("visual_tool_agent",), "verl.experimental.agent_loop.agent_loop", "verl_mapo.rollout.loop"),
    Entry(
        "reward manager",
        ("description_alignment",),
        "verl.experimental.reward_loop.reward_manager",
        "verl_mapo.rewards.manager",
    ),
)

_done: set[str] = set()


def register() -> None:
    """Register everything, once."""
    cpu.register()
    for entry in TABLE:
        if entry.module not in _done:
            _done.add(entry.module)
            wrapt.register_post_import_hook(partial(_bring_in, entry.module), entry.registry)


def _bring_in(module: str, _: ModuleType) -> None:
    importlib.import_module(module)


register()
