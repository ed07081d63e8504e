# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Kills verl's trainer at a named place of a step, or copies the run folder there, as a kill would leave it.

``VERL_USE_EXTERNAL_MODULES=kill_at`` loads this module in every process of a run, with this folder on ``PYTHONPATH``.
``KILL_AT="logged 2"`` sends SIGKILL to the trainer's process at that place of step 2. ``COPY_AT=2`` copies the run
folder, without the weights, to ``<run folder>@<place>`` at every place of step 2.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import wrapt

PLACES = ("saving", "saved", "validating", "validated", "recorded", "logged", "marked")
"""In the order of a step. Before ``marked`` the step is not complete, so a resumed run does it again."""


def reach(place: str, step: int) -> None:
    """Do what the environment asks for at this place."""
    if os.environ.get("KILL_AT") == f"{place} {step}":
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("COPY_AT") == str(step):
        run = Path(os.environ["VERL_FILE_LOGGER_PATH"]).parents[1]
        shutil.copytree(run, f"{run}@{place}", ignore=shutil.ignore_patterns("global_step_*"))


def before(module: ModuleType, method: str, place: str, later: int = 0) -> None:
    """Reach a place whenever a method of the trainer is called; ``later`` steps after the one that is meant."""

    def call(wrapped: Any, trainer: Any, args: tuple, kwargs: dict) -> Any:
        reach(place, trainer.global_steps - later)
        return wrapped(*args, **kwargs)

    wrapt.wrap_function_wrapper(module, f"PPOTrainer.{method}", call)


def watch_trainer(module: ModuleType) -> None:
    """Observe verl's trainer: this package's trainer calls each of these methods of its base class."""

    def save(wrapped: Any, trainer: Any, args: tuple, kwargs: dict) -> None:
        state_dict = trainer.train_dataloader.state_dict
        trainer.train_dataloader.state_dict = lambda: reach("saving", trainer.global_steps) or state_dict()
        wrapped(*args, **kwargs)
        trainer.train_dataloader.state_dict = state_dict
        reach("saved", trainer.global_steps)

    wrapt.wrap_function_wrapper(module, "PPOTrainer._save_checkpoint", save)
    before(module, "_maybe_log_val_generations", "validating")
    before(module, "on_validate_end", "validated")
    before(module, "on_step_begin", "marked", later=1)


def watch_metrics(module: ModuleType) -> None:
    """Observe the calls that log the metrics of a step."""

    def log(wrapped: Any, tracking: Any, args: tuple, kwargs: dict) -> None:
        reach("recorded", kwargs["step"])
        wrapped(*args, **kwargs)
        reach("logged", kwargs["step"])

    wrapt.wrap_function_wrapper(module, "Tracking.log", log)


if {"KILL_AT", "COPY_AT"} & set(os.environ):
    wrapt.when_imported("verl.trainer.ppo.v1.trainer_base")(watch_trainer)
    wrapt.when_imported("verl.utils.tracking")(watch_metrics)
