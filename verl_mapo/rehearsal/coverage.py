# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What a rehearsal has shown, read from its run folder: from metrics, records, checkpoints and the report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from verl_mapo import names
from verl_mapo.rehearsal.changes import STEPS
from verl_mapo.report.build import build_report
from verl_mapo.report.load import Rollout, RunData
from verl_mapo.run_folder import RunFolder
from verl_mapo.settings import select
from verl_mapo.training.logger_checks import loggers

AGREES = 0.05
"""Largest difference of probabilities of vLLM and the actor; with float32 it is below 1e-3, with old weights above."""

State = Literal["rehearsed", "not reached", "failed"]


@dataclass(frozen=True)
class Shown:
    """One row of the table.

    Attributes:
        what: the part of a run.
        state: ``not reached`` is no failure: the recipe does not ask for it, or no rollout came to it.
        evidence: figures.
    """

    what: str
    state: State
    evidence: str


def shown(run: Path, config: DictConfig) -> list[Shown]:
    """The table of a rehearsal that has ended.

    Args:
        run: its folder.
        config: the configuration of the rehearsal.
    """
    data = RunData.open(run)
    rollouts = [each for step in sorted(data.files["train"]) for each in data.rollouts(step, "train")]
    rows = [*_rollouts(rollouts, config), *_update(data, config), *_files(run, data, config)]
    return rows


def _row(what: str, good: bool, evidence: str, needed: bool = True) -> Shown:
    return Shown(what, "rehearsed" if good else "failed" if needed else "not reached", evidence)


def _rollouts(rollouts: list[Rollout], config: DictConfig) -> Iterator[Shown]:
    agent = select(config, names.DEFAULT_AGENT_LOOP)
    visual = agent == names.AGENT_LOOP
    yield _row("agent loop", bool(rollouts), f"{agent}: {len(rollouts)} rollouts recorded")
    sizes = {size for each in rollouts for size in each.trajectory.image_sizes}
    if visual:
        largest = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
        yield _row("pictures", bool(sizes), f"{len(sizes)} sizes, up to {largest[0]} x {largest[1]} pixels")
        calls = Counter(str(turn.status) for each in rollouts for turn in each.trajectory.turns if turn.called)
        told = ", ".join(f"{count} {status}" for status, count in calls.most_common())
        yield _row("tool calls", bool(calls["ok"]), told or "none")
        ends = Counter(str(each.trajectory.end_reason) for each in rollouts)
        yield _row("ends of rollouts", bool(ends), ", ".join(f"{count} {end}" for end, count in ends.most_common()))
    outcomes = Counter(each.outcome for each in rollouts)
    manager = select(config, names.REWARD_MANAGER_NAME)
    told = ", ".join(f"{count} of reward {reward:g}" for reward, count in sorted(outcomes.items()))
    yield _row("reward", bool(outcomes), f"{manager}: {told}")
    errors = [each.trajectory.error for each in rollouts if each.trajectory.error]
    yield _row("code of tools, checks and rewards", not errors, errors[0] if errors else "no error")
    if manager == names.REWARD_MANAGER:
        turns = [turn for each in rollouts for turn in each.trajectory.visual_turns]
        scored = sum(turn.score is not None for turn in turns)
        yield _row("scorer", scored > 0, f"{scored} of {len(turns)} visual turns scored")
    if select(config, names.ADV_ESTIMATOR) == names.AXPO:
        sources, resampled = (
            sum(getattr(each, kind) for each in rollouts) for kind in ("is_source", "is_continuation")
        )
        yield _row("continuations", resampled > 0, f"{resampled} of {sources} prefixes", needed=False)


def _update(data: RunData, config: DictConfig) -> Iterator[Shown]:
    steps, norms = data.series("actor/grad_norm")
    moved = [norm for norm in norms if norm > 0]
    told = ", ".join(f"{norm:.3g}" for norm in norms)
    yield _row("update of the weights", bool(moved), f"gradient norms of steps {_listed(steps)}: {told}")
    _, differences = data.series("training/rollout_probs_diff_max")
    if differences and select(config, names.TRAINER_MODE) == "sync":
        told = f"vLLM and actor differ by at most {max(differences):.2g} in a probability"
        yield _row("weights sent to vLLM", max(differences) < AGREES, told)
    for method in data.methods:
        node = method.Settings.NODE.rpartition(".")[2] if method.Settings else method.name
        found = [name for name in data.metric_names if name.startswith((f"{method.name}/", f"{node}/"))]
        yield _row(f"method {method.name}", bool(found), f"{len(found)} metrics")


def _files(run: Path, data: RunData, config: DictConfig) -> Iterator[Shown]:
    folder, last = RunFolder(run), STEPS + 1
    attempts = [_trained(file) for file in folder.metrics]
    yield _row(
        "metrics and logger",
        {*range(1, last + 1)} <= {*data.metrics},
        f"{_listed(loggers(config))}: steps {_listed(data.metrics)}",
    )
    validated = [step for step, values in data.metrics.items() if any(name.startswith("val-") for name in values)]
    told = f"at steps {_listed(validated)}" if validated else "the recipe validates at no step of a rehearsal"
    yield _row("validation", bool(validated), told, needed=config.trainer.test_freq > 0)
    saved = sorted(folder.checkpoints.glob("global_step_*"))
    size = sum(file.stat().st_size for each in saved for file in each.rglob("*") if file.is_file())
    yield _row("checkpoint", bool(saved), f"{_listed(each.name for each in saved)}, {size / 1e6:,.0f} MB")
    went_on = attempts == [[*range(1, last)], [last]]
    yield _row("resume", went_on, f"steps of each start: {' and '.join(map(str, attempts))}")
    page = build_report(run).html
    yield _row("report", page.is_file(), str(page))


def _trained(metrics: Path) -> list[int]:
    """The steps whose update one start of the run has logged; a validation logs a step, too."""
    lines = map(json.loads, metrics.read_text().splitlines())
    return sorted({line["step"] for line in lines if "actor/grad_norm" in line["data"]})


def _listed(values: object) -> str:
    return ", ".join(map(str, values)) or "none"
