# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Faults inside the processes of a real run, and the times at which they begin.

``VERL_USE_EXTERNAL_MODULES=faults`` loads this module in every process of a run, with this folder on ``PYTHONPATH``.
The file ``FAULT_TIMES`` gets a line ``<what> <seconds since the epoch>`` for each ``step`` that begins, each ``save``
and each fault. ``FAULT=nan`` makes the loss NaN; ``FAULT=loops`` lets rollouts repeat one token or write nothing.
"""

from __future__ import annotations

import os
import time
from types import ModuleType
from typing import Any

import wrapt


def tell(what: str) -> None:
    """Write that something begins now."""
    with open(os.environ["FAULT_TIMES"], "a") as file:
        file.write(f"{what} {time.time()}\n")


def tell_of(module: ModuleType, method: str, what: str) -> None:
    """Tell of each call of a method."""

    def call(wrapped: Any, trainer: Any, args: tuple, kwargs: dict) -> Any:
        tell(what)
        return wrapped(*args, **kwargs)

    wrapt.wrap_function_wrapper(module, method, call)


def watch_steps(module: ModuleType) -> None:
    """Tell of steps when the one before is marked: this package's trainer marks it and then calls verl's method."""
    tell_of(module, "PPOTrainer.on_step_begin", "step")


def watch_saves(module: ModuleType) -> None:
    """Tell of saves before this package's trainer looks for room on the disk."""
    tell_of(module, "VisualTrainer._save_checkpoint", "save")


def spoil_loss(module: ModuleType) -> None:
    """Multiply the policy's loss by NaN."""

    def loss(wrapped: Any, _: Any, args: tuple, kwargs: dict) -> Any:
        value, metrics = wrapped(*args, **kwargs)
        tell("fault")
        return value * float("nan"), metrics

    wrapt.wrap_function_wrapper(module, "ppo_loss", loss)


def spoil_texts(module: ModuleType) -> None:
    """Replace what the engine wrote by its last token, the end, in a third of the rollouts, and by a loop in others."""

    async def generate(wrapped: Any, _: Any, args: tuple, kwargs: dict) -> Any:
        output = await wrapped(*args, **kwargs)
        tell("fault")
        room, word = kwargs["sampling_params"]["max_tokens"], list(kwargs["prompt_ids"])[-2]
        empty = hash(args[0] if args else kwargs["request_id"]) % 3 == 0
        output.token_ids = output.token_ids[-1:] if empty else [word] * room
        output.log_probs = [-1.0] * len(output.token_ids)
        return output

    wrapt.wrap_function_wrapper(module, "LLMServerClient.generate", generate)


if "FAULT_TIMES" in os.environ:
    wrapt.when_imported("verl.trainer.ppo.v1.trainer_base")(watch_steps)
    wrapt.when_imported("verl_mapo.training.trainer")(watch_saves)
    if os.environ.get("FAULT") == "nan":
        wrapt.when_imported("verl.workers.utils.losses")(spoil_loss)
    if os.environ.get("FAULT") == "loops":
        wrapt.when_imported("verl.workers.rollout.llm_server")(spoil_texts)
