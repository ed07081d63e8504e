# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from verl_mapo.report.data_sources import SourceFigures, source_table
from verl_mapo.report.load import RunData


def test_figures_are_those_of_the_first_and_last_validation_and_of_the_last_training_step(two_source_run):
    table = source_table(RunData.open(two_source_run))
    assert table.steps == ["Validation, step 0", "Validation, step 5", "Training, step 5"]
    (a, (first, last, training)), (b, figures) = table.rows
    assert (a, b) == ("a", "b")
    assert (first.accuracy, last.accuracy) == (0.0, 1.0)
    assert [each and each.accuracy for each in figures] == [0.5, 0.5, None]
    assert training == SourceFigures(rollouts=2, accuracy=0.5, alignment=0.5, tool_rate=0.5)


def test_run_of_one_data_source_has_no_table(whole_run, forked_run):
    assert source_table(RunData.open(whole_run)) is None
    assert source_table(RunData.open(forked_run)) is None


def test_alignment_is_none_where_no_rollout_has_one(make_rollout):
    figures = SourceFigures.of([make_rollout(alignment=None, trajectory=None)])
    assert (figures.alignment, figures.tool_rate) == (None, 0.0)


def test_rollout_without_an_outcome_is_not_in_the_accuracy(make_rollout):
    unknown = make_rollout(outcome=0.0)
    unknown.trajectory.error = "The tool zoom raised KeyError."
    assert SourceFigures.of([make_rollout(outcome=1.0), unknown]).accuracy == 1.0
    assert SourceFigures.of([unknown]).accuracy is None
