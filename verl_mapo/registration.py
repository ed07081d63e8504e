# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The table of all that this package adds to verl: names, and corrections. Importing this module registers them.

verl imports this module at the end of ``import verl`` in every process, through the entry point group ``verl.plugins``
or through ``VERL_USE_EXTERNAL_MODULES=verl_mapo.registration``. The import has to be fast, so this module imports
neither torch nor the rest of the package: a name is registered when verl imports the module that holds its registry.
"""

from __future__ import annotations

import importlib
from functools import partial
from types import ModuleType
from typing import NamedTuple

import wrapt

from verl_mapo import names
from verl_mapo.logs import keep_warnings
from verl_mapo.platforms import cpu


class Entry(NamedTuple):
    """The names of one kind, or a correction of verl, and the module that makes them known to verl.

    Attributes:
        kind: verl's term for it.
        names: values of the setting that chooses one; empty for a correction.
        registry: the module of verl that holds the registry, or that is corrected; its import triggers the import of
            ``module``.
        module: the module of this package that registers the names, or corrects verl, when it is imported.
    """

    kind: str
    names: tuple[str, ...]
    registry: str
    module: str


TABLE = (
    Entry("advantage estimator", names.ESTIMATORS, "verl.trainer.ppo.core_algos", "verl_mapo.training.estimators"),
    Entry("trainer", names.TRAINERS, "verl.trainer.ppo.v1", "verl_mapo.training.trainer"),
    Entry(
        "engine",
        names.ENGINES,
        "verl.workers.engine.fsdp.transformer_impl",
        "verl_mapo.training.method_engine",
    ),
    Entry("agent loop", (names.AGENT_LOOP,), "verl.experimental.agent_loop.agent_loop", "verl_mapo.rollout.loop"),
    Entry(
        "reward manager",
        (names.REWARD_MANAGER,),
        "verl.experimental.reward_loop.reward_manager",
        "verl_mapo.rewards.manager",
    ),
    Entry("image features", (), "verl.experimental.agent_loop.agent_loop", "verl_mapo.rollout.worker_features"),
    Entry("whole epochs of SFT", (), "verl.utils.checkpoint.checkpoint_handler", "verl_mapo.coldstart.whole_epochs"),
    Entry("frozen vision tower", (), "verl.workers.config.actor", "verl_mapo.training.frozen_tower"),
    Entry(
        "rows without images",
        (),
        "verl.models.transformers.qwen2_vl",
        "verl_mapo.training.rows_without_images",
    ),
    Entry("rows of one length", (), "verl.workers.engine_workers", "verl_mapo.training.equal_lengths"),
    Entry(
        "packed rows of linear attention",
        (),
        "verl.models.transformers.qwen3_5",
        "verl_mapo.training.packed_linear_attention",
    ),
)

_done: set[str] = set()
"""The modules for which the import hook is already registered."""


def register() -> None:
    """Arrange for every entry of the table to be registered. A second call does nothing."""
    keep_warnings()
    cpu.register()
    for entry in TABLE:
        if entry.module not in _done:
            _done.add(entry.module)
            wrapt.register_post_import_hook(partial(_import, entry.module), entry.registry)


def _import(module: str, _: ModuleType) -> None:
    importlib.import_module(module)


register()
