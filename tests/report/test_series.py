# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from verl_mapo.report.load import RunData
from verl_mapo.report.panels import REPEAT_IOU
from verl_mapo.report.series import drawn_panels
from verl_mapo.training.mapo import UNSCORED_SHARE


def by_title(run):
    return {panel.title: panel for panel in drawn_panels(RunData.open(run))}


def test_only_logged_metrics_are_drawn(whole_run):
    found = by_title(whole_run)
    assert list(found) == ["Accuracy", "Alignment", "Tool use", "End reasons"]
    assert [series.name for series in found["Accuracy"].series] == ["training", "held out"]
    assert [series.name for series in found["Alignment"].series] == ["held out"]
    assert all(panel.look_for for panel in found.values())


def test_panels_of_axpo_are_drawn_where_its_metrics_were_logged(forked_run):
    found = by_title(forked_run)
    assert list(found) == ["Accuracy", "Triggered and recovered"]
    lines = {series.name: series.values for series in found["Triggered and recovered"].series}
    assert lines == {"triggered": [1.0, 1.0, 1.0], "recovered": [0.0, 0.5, 0.0]}


def test_training_accuracy_is_that_of_original_rollouts(write_run):
    run = write_run({1: {"mapo/outcome/mean": 0.5, "axpo/outcome/original": 0.25}})
    (series,) = by_title(run)["Accuracy"].series
    assert (series.name, series.values) == ("training", [0.25])


def test_run_without_metrics_has_no_panels(write_run):
    assert by_title(write_run({})) == {}


def test_shares_of_end_reasons_add_up_to_one_and_the_rare_ones_are_added_up(write_run):
    reasons = [f"reason{i}" for i in range(9)]
    metrics = {
        step: {f"rollout_visual/end/{reason}": 1 / 9 for reason in reasons if reason != "reason0" or step}
        for step in range(3)
    }
    series = by_title(write_run(metrics))["End reasons"].series
    assert len(series) == 7 and series[-1].name == "all others"
    assert [round(sum(line.values[step] for line in series), 6) for step in range(3)] == [round(8 / 9, 6), 1.0, 1.0]


def test_kinds_of_bad_calls_are_lines_with_zero_where_none_was_logged(write_run):
    metrics = {
        1: {"rollout_visual/turns": 2.0, "rollout_visual/bad_call/no_json": 0.2},
        2: {"rollout_visual/turns": 2.0, "rollout_visual/bad_call/bad_box": 0.1},
    }
    series = by_title(write_run(metrics))["Bad calls, share of all calls"].series
    assert {line.name: line.values for line in series} == {"no_json": [0.2, 0.0], "bad_box": [0.0, 0.1]}


def test_swaps_of_audits_are_lines_at_the_validations_alone(write_run):
    metrics = {step: {"rollout_visual/turns": 2.0} for step in range(1, 5)}
    metrics[2]["val-audit/without_looking/toy/blank"] = 0.5
    metrics[4] |= {"val-audit/without_looking/toy/blank": 0.25, "val-audit/evidence/toy/blank": 1.0}
    (series,) = by_title(write_run(metrics))["Right held-out answers that do not need the look"].series
    assert (series.name, series.steps, series.values) == ("toy/blank", [2, 4], [0.5, 0.25])


def test_every_data_source_has_a_held_out_line(write_run):
    run = write_run({0: {"val-core/a/acc/mean@1": 0.1, "val-core/b/acc/mean@1": 0.2}})
    assert [series.name for series in by_title(run)["Accuracy"].series] == ["held out, a", "held out, b"]


def test_panels_are_in_the_order_in_which_to_read_them(write_run):
    names = [
        "timing_s/step",
        "axpo/trigger_rate",
        "mapo/a_out/std",
        "rollout_visual/crop_area",
        "rollout_visual/end/ok",
    ]
    assert list(by_title(write_run({1: dict.fromkeys([*names, "val-core/toy/acc/mean@1"], 0.5)}))) == [
        "Accuracy",
        "Crop area, share of the image",
        "End reasons",
        "Triggered and recovered",
        "Spread of the advantages",
        "Time of a step in seconds",
    ]


def test_limit_of_a_panel_is_that_of_its_alarm(write_run):
    run = write_run({1: {"mapo/alignment/unscored_share": 0.0, "rollout_visual/repeat_iou": 0.0}})
    limits = {title: panel.limit for title, panel in by_title(run).items()}
    assert limits == {"Unscored visual turns": UNSCORED_SHARE, "Overlap of repeated boxes, IoU": REPEAT_IOU}
