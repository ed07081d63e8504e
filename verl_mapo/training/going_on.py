# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Which checkpoint a run goes on from, and whether it takes the course that it would have taken without the stop."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from verl_mapo import names
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.run_folder import marked_step
from verl_mapo.settings import parse, select


def resumed_checkpoint(config: DictConfig) -> Path | None:
    """The folder ``global_step_N`` from which a run of RL or SFT will go on; None where it begins anew.

    Args:
        config: the whole configuration.
    """
    if select(config, names.RESUME_MODE) == "disable":
        return None
    if given := select(config, names.RESUME_PATH):
        return Path(given).absolute()
    folder = Path(select(config, names.CHECKPOINT_DIR)).absolute()
    step = marked_step(folder)
    return folder / f"global_step_{step}" if step else None


def going_on(config: DictConfig, step: int) -> str:
    """Sentences for the log of a run that goes on after a step.

    Args:
        config: the whole configuration.
        step: the step of the checkpoint.
    """
    begin = (
        f"The run goes on after step {step}. Weights, optimizer and the order of the data are those of its checkpoint"
    )
    mode = select(config, names.TRAINER_MODE)
    if mode != "sync":
        return (
            f"{begin}; with {names.TRAINER_MODE}={mode}, prompts that were in flight are begun anew, so its metrics "
            "differ from those of a run that was not stopped."
        )
    if parse(VisualToolSettings, config).seed is None:
        return (
            f"{begin}; its rollouts are sampled with other random numbers than without the stop, so metrics differ by "
            "chance: visual_tool.seed would give them the same."
        )
    if select(config, names.ADV_ESTIMATOR) == names.AXPO:
        return (
            f"{begin}, and rollouts get the same seeds as without the stop; which of them are continued depends on the "
            "order in which they end, so metrics may differ."
        )
    return (
        f"{begin}, and rollouts get the same seeds as without the stop: its metrics are those of a run that was not "
        "stopped, as far as the engine rounds alike, which on GPUs depends on what it computes at the same time."
    )
