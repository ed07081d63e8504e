# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Checks a run of SFT and starts verl's sft_trainer for it, with a run folder, as ``verl-mapo sft`` does."""

from __future__ import annotations

import logging
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import typer
from omegaconf import DictConfig

from verl_mapo import names
from verl_mapo.coldstart.dataset import SupervisedDataset
from verl_mapo.coldstart.settings import check_rows_fit, check_sft
from verl_mapo.launcher import supervise
from verl_mapo.overrides import check_data_path, hydra_folder_override, in_shell, path_override
from verl_mapo.planning.compose import PRIMARY, composed
from verl_mapo.platforms import cpu
from verl_mapo.report.progress import Progress
from verl_mapo.run_command import OWN, attempt
from verl_mapo.run_folder import RunFolder
from verl_mapo.settings import ConfigError, local_path, select
from verl_mapo.training.start_checks import check_attention, data_files, tokenizer_and_processor

CONFIG = PRIMARY.with_name("sft.yaml")
"""The primary configuration of SFT."""

MODEL, ATTENTION = "model.path", "model.override_config.attn_implementation"


def run_sft(model: str, data: Path, run: Path, overrides: Sequence[str], timeout_h: float | None, verbose: bool) -> int:
    """Check a run, start verl's sft_trainer, and watch it.

    Args:
        model: folder of a model, or its name on the Hugging Face hub.
        data: file of the rows.
        run: the run folder.
        overrides: hydra overrides of the command line.
        timeout_h: time limit in hours; None for no limit.
        verbose: show the whole output instead of one line per step.

    Returns:
        the exit code, see :func:`verl_mapo.launcher.supervise`.

    Raises:
        ConfigError: the run would fail; nothing is started.
    """
    folder = RunFolder(run.resolve())
    arguments = _arguments(model, data, folder, overrides)
    config = composed(CONFIG, arguments)
    total = check_run(config)
    if 0 < total <= folder.marked_step:
        typer.echo(f"{run} is complete: step {folder.marked_step} of {total}.")
        _say_model(folder)
        return 0
    code = _train(folder, config, arguments, total, timeout_h, verbose)
    if code == 0:
        _say_model(folder)
    return code


def rows_of(model: str, data: Path, overrides: Sequence[str]) -> SupervisedDataset:
    """The rows of a file as SFT would read them.

    Args:
        model: folder of a model, or its name on the Hugging Face hub; only tokenizer and processor are read.
        data: file of the rows.
        overrides: hydra overrides of the configuration ``sft``.

    Raises:
        ConfigError: a setting is invalid, the file does not exist, or too many rows are left out.
    """
    own = [path_override(MODEL, model), path_override(names.TRAIN_FILES, data.resolve())]
    config = composed(CONFIG, [*own, *overrides])
    files = data_files(config, names.TRAIN_FILES)
    tokenizer, processor = tokenizer_and_processor(config, MODEL)
    return SupervisedDataset(files, tokenizer, config.data, processor)


def check_run(config: DictConfig) -> int:
    """Check settings, model and rows of a run; the rows are replayed unless that was done before.

    Args:
        config: the whole configuration.

    Returns:
        the number of steps.

    Raises:
        ConfigError: naming the setting, its value and a right value, or the rows that are left out.
    """
    if config.trainer.nnodes != 1:
        raise ConfigError(
            f"trainer.nnodes={config.trainer.nnodes} is refused: verl-mapo sft starts the processes of one machine. "
            "Start torchrun on every node, see docs/cold_start.md."
        )
    check_sft(config)
    check_attention(config, ATTENTION)
    files = {
        setting: data_files(config, setting)
        for setting in (names.TRAIN_FILES, names.VAL_FILES)
        if select(config, setting)
    }
    tokenizer, processor = tokenizer_and_processor(config, MODEL)
    logger = logging.getLogger(names.PACKAGE)
    level = logger.level
    logger.setLevel(logging.ERROR)  # the first rank warns of the rows that are left out
    try:
        read = {
            setting: SupervisedDataset(given, tokenizer, config.data, processor, _samples(config, setting))
            for setting, given in files.items()
        }
    finally:
        logger.setLevel(level)
    rows = read[names.TRAIN_FILES]
    check_rows_fit(config, rows.lengths)
    typer.echo(describe(rows))
    steps = select(config, names.TOTAL_STEPS)
    return steps or len(rows) // config.data.train_batch_size * config.trainer.total_epochs


def describe(rows: SupervisedDataset) -> str:
    """A sentence about the rows of a data set."""
    kept, lengths = [rows.verdicts[index] for index in rows.kept], rows.lengths
    trained, calls = sum(verdict.trained for verdict in kept), sum(verdict.calls for verdict in kept)
    left_out = ", ".join(f"{reason} {count}" for reason, count in rows.left_out().items())
    return (
        f"{len(kept)} of {len(rows.verdicts)} rows{f' (left out: {left_out})' if left_out else ''}: median "
        f"{statistics.median(lengths):.0f} and at most {max(lengths)} tokens, {trained / sum(lengths):.0%} of them "
        f"trained on, {calls} calls."
    )


def _samples(config: DictConfig, setting: str) -> int:
    return select(config, names.TRAIN_ROWS if setting == names.TRAIN_FILES else names.VAL_ROWS, -1)


def _arguments(model: str, data: Path, folder: RunFolder, overrides: Sequence[str]) -> list[str]:
    """The overrides of a run, those of the command line last."""
    check_data_path("--data", data.resolve())
    place = local_path(model)
    own = [
        path_override(MODEL, place.resolve() if place.exists() else model),
        path_override(names.TRAIN_FILES, data.resolve()),
        path_override(names.CHECKPOINT_DIR, folder.checkpoints),
        hydra_folder_override(folder.hydra),
    ]
    if torch.cuda.is_available():
        own.append(f"{names.GPUS_PER_NODE}={torch.cuda.device_count()}")
    else:
        own.append("stack=sft_cpu")
    return [*own, *overrides]


def _train(
    folder: RunFolder, config: DictConfig, arguments: list[str], total: int, timeout_h: float | None, verbose: bool
) -> int:
    """Start torchrun with verl's sft_trainer and wait for it."""
    ranks = config.trainer.n_gpus_per_node
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command += ["-m", "verl.trainer.sft_trainer"]
    command += ["--config-path", OWN, "--config-name", CONFIG.stem, *arguments]
    progress = Progress(typer.echo, total)
    echo, limit = None if verbose else progress, None if timeout_h is None else timeout_h * 3600
    with attempt(folder, arguments, config.trainer.device == cpu.NAME) as (environment, lock):
        code = supervise(command, timeout_s=limit, env=environment, log=folder.log, echo=echo, inherited=[lock])
    if code and not verbose:
        typer.echo(f"{progress.explain()}\nThe run ended with code {code}. Its whole output is in {folder.log}.")
    if code:
        typer.echo(f"verl-mapo: the same command {progress.again(folder.marked_step)}.")
    return code


def _say_model(folder: RunFolder) -> None:
    """Print the override with which a run of RL starts from the last checkpoint."""
    model = folder.checkpoints / f"global_step_{folder.marked_step}" / "huggingface"
    if (model / "config.json").is_file() and list(model.glob("*.safetensors")):
        typer.echo(in_shell(path_override(names.MODEL_PATH, model)))
