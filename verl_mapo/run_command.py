# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Starts a training run with its run folder, for the commands train, eval, probe and collect."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from verl_mapo import names
from verl_mapo.overrides import hydra_folder_override, last_value, name_groups, path_override
from verl_mapo.run_folder import RunFolder, write_whole
from verl_mapo.run_lock import held
from verl_mapo.settings import ConfigError

if TYPE_CHECKING:
    from verl_mapo.report.progress import Progress

OWN = "pkg://verl_mapo.config"
"""The package of this package's primary configurations, as hydra names it."""


def primary(config: str | None, recipe: Path | None) -> list[str]:
    """hydra's arguments for the primary configuration of a run.

    Args:
        config: name of a configuration in ``verl_mapo.config``; None for ``run``.
        recipe: a yaml file anywhere; None for ``config``.

    Raises:
        ConfigError: both are given, there is no such configuration, or the recipe is no yaml file.
    """
    if recipe is None:
        own = ["--config-path", OWN, "--config-name", config or "run"]
        if not primary_file(own).is_file():
            known = ", ".join(sorted(file.stem for file in primary_file(own).parent.glob("*.yaml")))
            raise ConfigError(f"--config {config} is refused: choose one of {known}; or give a file, --recipe PATH.")
        return own
    if config is not None:
        raise ConfigError(f"--recipe {recipe} and --config {config} are both given: leave one out.")
    if recipe.suffix != ".yaml" or not recipe.is_file():
        fault = "is no .yaml file" if recipe.exists() else "does not exist"
        raise ConfigError(
            f"--recipe {recipe} {fault}: give the path of a .yaml file, such as recipes/mapo/qwen2_5_vl_7b.yaml."
        )
    return ["--config-path", str(recipe.resolve().parent), "--config-name", recipe.stem]


def primary_file(config: list[str]) -> Path:
    """The yaml file of a primary configuration, see :func:`primary`."""
    _, folder, _, name = config
    found = Path(__file__).parent / "config" if folder == OWN else Path(folder)
    return found / f"{name}.yaml"


def launch_run(
    run: Path,
    config: list[str],
    overrides: list[str],
    timeout_h: float | None,
    verbose: bool,
    on_cpu: bool = False,
    progress: Progress | None = None,
) -> int:
    """Run verl's trainer with a run folder.

    Args:
        run: the folder.
        config: see :func:`primary`.
        overrides: hydra overrides of the command line.
        timeout_h: time limit in hours; None for no limit.
        verbose: show the whole output instead of one line per step.
        on_cpu: run on the CPU even if there is an accelerator.
        progress: takes the output in the place of the lines for each step.

    Returns:
        the exit code, see :func:`verl_mapo.launcher.supervise`.

    Raises:
        ConfigError: the time limit is not positive, the configuration cannot be composed, or another command uses the
            folder; nothing is launched.
    """
    if timeout_h is not None and not timeout_h > 0:
        raise ConfigError(f"--timeout-h {timeout_h:g} is refused: give a positive number of hours, such as 24.")
    import torch

    from verl_mapo.launcher import REFUSED, launch
    from verl_mapo.planning.compose import composed
    from verl_mapo.report.progress import Progress

    folder = RunFolder(run.resolve())
    in_folder = [
        hydra_folder_override(folder.hydra),
        path_override(names.ROLLOUT_DATA_DIR, folder.trajectories),
        path_override(names.CHECKPOINT_DIR, folder.checkpoints),
    ]
    without_gpu = on_cpu or not torch.cuda.is_available()
    given = [*in_folder, *(["stack=cpu"] if without_gpu else []), *name_groups(overrides)]
    composed(primary_file(config), given)
    if without_gpu and not on_cpu and last_value(overrides, "stack") is None:
        typer.echo("verl-mapo: no GPU is found on this machine, so that stack=cpu is used.")
    arguments = [*config, *given]
    timeout_s = None if timeout_h is None else timeout_h * 3600
    progress = progress or Progress(typer.echo, last_value(overrides, names.TOTAL_STEPS))
    echo = None if verbose else progress
    with attempt(folder, arguments, without_gpu) as (environment, lock):
        code = launch(arguments, timeout_s=timeout_s, env=environment, log=folder.log, echo=echo, inherited=[lock])
    if code and code != REFUSED and not verbose:
        typer.echo(f"{progress.explain()}\nThe run ended with code {code}. Its whole output is in {folder.log}.")
    if code and code != REFUSED:
        typer.echo(f"verl-mapo: the same command {progress.again(folder.marked_step)}.")
    return code


@contextmanager
def attempt(folder: RunFolder, arguments: list[str], on_cpu: bool) -> Iterator[tuple[dict[str, str], int]]:
    """Hold a run folder for one more attempt of its run, and write ``run.json``.

    Args:
        folder: the folder.
        arguments: the attempt's hydra arguments.
        on_cpu: whether it runs on the CPU stack.

    Yields:
        the environment of the attempt's process, with the path of its metrics file; and the descriptor of the lock,
        which that process inherits.

    Raises:
        ConfigError: another command uses the folder.
    """
    from verl_mapo.platforms import cpu

    with held(folder) as lock:
        metrics = folder.next_metrics()
        metrics.parent.mkdir(parents=True, exist_ok=True)
        write_whole(folder.about, json.dumps(about(arguments), indent=1))
        environment = {**os.environ, "VERL_FILE_LOGGER_PATH": str(metrics)}
        yield ({**cpu.environment(), **environment} if on_cpu else environment), lock


def about(arguments: list[str]) -> dict[str, Any]:
    """The content of ``run.json``."""
    return {
        "command": " ".join(sys.argv),
        "arguments": arguments,
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
        "versions": {name: metadata.version(name) for name in ("verl-mapo", "verl", "torch", "transformers")},
    }
