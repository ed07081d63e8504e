# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The command ``verl-mapo sft``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from verl_mapo.command_options import Timeout, Verbose


def sft(
    model: Annotated[str, typer.Option(help="Folder of the model to train, or its name on the Hugging Face hub.")],
    data: Annotated[Path, typer.Option(help="Rows with assistant turns: a parquet, JSON or JSONL file.")],
    run: Annotated[Path, typer.Option(help="Folder of the run: metrics, checkpoints, log.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Hydra overrides of verl_mapo/config/sft.yaml.")] = None,
    timeout_h: Timeout = None,
    verbose: Verbose = False,
) -> None:
    """Train a model on trajectories with verl's sft_trainer, before RL (docs/cold_start.md).

    The rows hold what the model wrote; the agent loop adds prompts, crops and observations, as in RL. They are replayed
    once before anything starts, and those in which the loop does something else than the text says are left out.

    An interrupted run continues from its last checkpoint. At the end, the command prints the override with which
    verl-mapo train starts from the model. On a machine without an accelerator, stack=sft_cpu is added.
    """
    from verl_mapo.coldstart.command import run_sft

    raise typer.Exit(run_sft(model, data, run, overrides or [], timeout_h, verbose))
