# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""verl's main_ppo as ``verl-mapo train`` starts it: ``python -m verl_mapo.driver`` takes the same arguments.

Before Ray starts, the configuration, the data and the model's tokenizer are checked, so that a mistake costs seconds.
The trainer runs on the machine of the command, where its run folder is. In an existing Ray cluster, the
actors of the run are watched.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from omegaconf import DictConfig, open_dict
from ray.exceptions import RayError
from verl.trainer import main_ppo

from verl_mapo import names
from verl_mapo.cluster import METRICS_FILE, TrainerHere, check_ray_settings
from verl_mapo.launcher import REFUSED
from verl_mapo.ray_errors import reason
from verl_mapo.settings import ConfigError


def log_to_file(config: DictConfig) -> None:
    """Add verl's logger ``file`` where the run has a metrics file, which the report reads."""
    given = config.trainer.get("logger") or []
    loggers = [given] if isinstance(given, str) else list(given)
    if METRICS_FILE in os.environ and "file" not in loggers:
        with open_dict(config):
            config.trainer.logger = [*loggers, "file"]


def check(config: DictConfig) -> None:
    """Check a run before Ray starts; a mistake ends the process with :data:`~verl_mapo.launcher.REFUSED`."""
    from verl_mapo.training.start_checks import check_start

    warnings = logging.getLogger(names.PACKAGE)
    level = warnings.level
    warnings.setLevel(logging.ERROR)  # the trainer makes the same checks, and its warnings are in the log
    try:
        check_ray_settings(config)
        check_start(config)
    except ConfigError as error:
        sys.stderr.write(f"verl-mapo: {error}\n")
        sys.exit(REFUSED)
    finally:
        warnings.setLevel(level)


def main() -> None:
    """Run verl's main_ppo with the checks and the trainer's place."""
    run_ppo = main_ppo.run_ppo

    def run_checked(config: DictConfig, task_runner_class: Any) -> None:
        check(config)
        log_to_file(config)
        try:
            run_ppo(config, task_runner_class=TrainerHere(task_runner_class))
        except RayError as error:
            sys.stderr.write(f"verl-mapo: the trainer has failed: {reason(error)}\n")
            raise

    main_ppo.run_ppo = run_checked
    main_ppo.main()


if __name__ == "__main__":
    main()
