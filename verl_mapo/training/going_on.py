# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Which checkpoint a run goes on from, and whether it takes the course that it would have taken without the stop."""

from __future__ import annotations

import re
from pathlib import Path

from omegaconf import DictConfig

from verl_mapo import names
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.run_folder import marked_step
from verl_mapo.settings import ConfigError, parse, select

_PART = re.compile(r"model_world_size_(\d+)_rank_0\.pt")
"""verl's file of the first rank's weights in a checkpoint of FSDP."""


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


def check_resumed_ranks(config: DictConfig, part: str = "") -> None:
    """Check that a run has as many GPUs as wrote the checkpoint from which it will go on.

    FSDP writes a file for each rank, with the number of ranks in its name, and reads those of that number alone.

    Args:
        config: the whole configuration.
        part: folder of the engine's part in a checkpoint.

    Raises:
        ConfigError: it has more or fewer; with both numbers, and how to go on with another number.
    """
    if (checkpoint := resumed_checkpoint(config)) is None:
        return
    nodes, of_a_node = select(config, names.NODES), select(config, names.GPUS_PER_NODE)
    found = [_PART.fullmatch(file.name) for file in (checkpoint / part).glob("model_world_size_*")]
    wrote = {int(match[1]) for match in found if match}
    if wrote and nodes * of_a_node not in wrote:
        ranks = max(wrote)
        raise ConfigError(
            f"{names.NODES}={nodes} and {names.GPUS_PER_NODE}={of_a_node} are {nodes * of_a_node} GPUs, but the run "
            f"goes on from {checkpoint}, which {ranks} GPUs wrote and only {ranks} can read. Use {ranks}, or begin a "
            "new run from its weights, in another folder: python -m verl.model_merger merge --backend fsdp --local_dir "
            f"{checkpoint / part} --target_dir MODEL, then {names.MODEL_PATH}=MODEL."
        )


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
