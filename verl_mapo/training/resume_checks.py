# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The check of the checkpoint from which a run is to go on.

verl looks at it when all workers are up. It then fails on a path that does not end in a step, on a mark that a full
disk has emptied, and on a checkpoint that another number of GPUs wrote; and it begins anew, without an error, where the
marked checkpoint is gone.
"""

from __future__ import annotations

import re
from pathlib import Path

from omegaconf import DictConfig

from verl_mapo import names
from verl_mapo.run_folder import mark_file, marked_step, wrong_mark
from verl_mapo.settings import ConfigError, select
from verl_mapo.training.engine_table import gpus
from verl_mapo.training.going_on import resumed_checkpoint

_STEP = re.compile(r"global_step_\d+")

_PART = re.compile(r"model_world_size_(\d+)_rank_0\.pt")
"""verl's file of the first rank's weights in a checkpoint of FSDP."""


def check_resume(config: DictConfig) -> None:
    """Check that there is a checkpoint where the run is to go on from one.

    Args:
        config: the whole configuration.

    Raises:
        ConfigError: ``trainer.resume_from_path`` is no folder of a checkpoint, or the mark in
            ``trainer.default_local_dir`` names no step, or one whose checkpoint is missing.
    """
    mode, folder = select(config, names.RESUME_MODE), select(config, names.CHECKPOINT_DIR)
    if mode == "resume_path":
        _check_path(select(config, names.RESUME_PATH))
    elif mode == "auto" and folder is not None:
        _check_mark(Path(folder))


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
    found = [_PART.fullmatch(file.name) for file in (checkpoint / part).glob("model_world_size_*")]
    wrote = {int(match[1]) for match in found if match}
    if wrote and gpus(config) not in wrote:
        ranks = max(wrote)
        given = " and ".join(f"{path}={select(config, path)}" for path in (names.NODES, names.GPUS_PER_NODE))
        raise ConfigError(
            f"{given} are {gpus(config)} GPUs, but the run goes on from {checkpoint}, which {ranks} GPUs wrote and "
            f"only {ranks} can read. Use {ranks}, or begin a new run from its weights, in another folder: "
            "python -m verl.model_merger merge --backend fsdp --local_dir "
            f"{checkpoint / part} --target_dir MODEL, then {names.MODEL_PATH}=MODEL."
        )


def _check_path(given: object) -> None:
    path = Path(given) if isinstance(given, str) else None
    if path is None or not _STEP.fullmatch(path.name) or str(given).endswith("/") or not path.is_dir():
        raise ConfigError(
            f"{names.RESUME_PATH}={given} is no checkpoint: give its folder, without a slash at the end, for example "
            f"runs/mapo/checkpoints/global_step_20, or set {names.RESUME_MODE}=auto."
        )


def _check_mark(checkpoints: Path) -> None:
    step = marked_step(checkpoints)
    if mark_file(checkpoints).is_file() and not (checkpoints / f"global_step_{step}").is_dir():
        raise wrong_mark(checkpoints, f"marks step {step} as the last, and its checkpoint is missing")
