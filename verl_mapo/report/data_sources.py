# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy, alignment and tool use of each data source, for a run that has more than one."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from verl_mapo.report.load import Rollout, RunData


@dataclass(frozen=True)
class SourceFigures:
    """Figures of the original rollouts of one data source at one step.

    Attributes:
        rollouts: how many there are; continuations of AXPO are not counted.
        accuracy: mean outcome.
        alignment: mean over the rollouts that have one; None where none has.
        tool_rate: share of the rollouts that called a tool.
    """

    rollouts: int
    accuracy: float | None
    alignment: float | None
    tool_rate: float

    @classmethod
    def of(cls, rollouts: list[Rollout]) -> SourceFigures:
        """The figures of at least one rollout."""
        outcomes = [rollout.known_outcome for rollout in rollouts if rollout.known_outcome is not None]
        alignments = [rollout.alignment for rollout in rollouts if rollout.alignment is not None]
        return cls(
            rollouts=len(rollouts),
            accuracy=fmean(outcomes) if outcomes else None,
            alignment=fmean(alignments) if alignments else None,
            tool_rate=fmean(rollout.trajectory.called for rollout in rollouts),
        )


@dataclass(frozen=True)
class SourceTable:
    """One row for each data source, one group of columns for each step.

    Attributes:
        steps: headings of the column groups.
        rows: name of the data source, and its figures at each of the steps; None where it has no rollouts.
    """

    steps: list[str]
    rows: list[tuple[str, list[SourceFigures | None]]]


def source_table(run: RunData) -> SourceTable | None:
    """Figures by data source at the first and last validation and at the last training step.

    Returns:
        None where the rollouts of these steps come from fewer than two data sources.
    """
    chosen = [("Validation", "val", step) for step in run.ends("val")]
    chosen += [("Training", "train", step) for step in run.ends("train")[-1:]]
    columns = [_by_source(run.rollouts(step, split)) for _, split, step in chosen]
    data_sources = sorted({data_source for column in columns for data_source in column}, key=str)
    if len(data_sources) < 2:
        return None
    rows = [(data_source, [_figures(column.get(data_source)) for column in columns]) for data_source in data_sources]
    return SourceTable([f"{title}, step {step}" for title, _, step in chosen], rows)


def _by_source(rollouts: list[Rollout]) -> dict[str, list[Rollout]]:
    found: dict[str, list[Rollout]] = {}
    for rollout in rollouts:
        if not rollout.is_continuation:
            found.setdefault(rollout.data_source, []).append(rollout)
    return found


def _figures(rollouts: list[Rollout] | None) -> SourceFigures | None:
    return SourceFigures.of(rollouts) if rollouts else None
