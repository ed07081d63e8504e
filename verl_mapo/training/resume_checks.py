# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The check of the checkpoint from which a run is to go on.

verl looks at it when all workers are up. It then fails on a path that does not end in a step and on a mark that a full
disk has emptied, and begins anew, without an error, where the marked checkpoint is gone.
"""

from __future__ import annotations

import re
from pathlib import Path

from omegaconf import DictConfig

from verl_mapo import names
from verl_mapo.run_folder import mark_file, marked_step, wrong_mark
from verl_mapo.settings import ConfigError, select

_STEP = re.compile(r"global_step_\d+")


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
