# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
from __future__ import annotations

from verl_mapo.report.load import Run
from verl_mapo.report.panels import panels


def by_title(run):
    return {panel.title: panel for panel in panels(Run.open(run))}


def test_only_what_was_logged_is_drawn(whole_run):
    found = by_title(whole_run)
    assert list(found) == ["Accuracy", "Alignment", "Tool use", "End reasons"]
    assert [series.name for series in found["Accuracy"].series] == ["training", "held out"]
    assert [series.name for series in found["Alignment"].series] == ["held out"]
    assert all(panel.look for panel in found.values())


def test_axpo_has_panels_of_its_own_where_it_was_at_work(forked_run):
    found = by_title(forked_run)
    assert list(found) == ["Accuracy", "Triggered and recovered"]
    lines = {series.name: series.values for series in found["Triggered and recovered"].series}
    assert lines == {"triggered": [1.0, 1.0, 1.0], "recovered": [0.0, 0.5, 0.0]}


def test_training_accuracy_leaves_continuations_out(write_run):
    run = write_run({1: {"mapo/outcome/mean": 0.5, "axpo/outcome/original": 0.25}})
    (series,) = by_title(run)["Accuracy"].series
    assert (series.name, series.values) == ("training", [0.25])


def test_no_metrics_no_panels(write_run):
    assert by_title(write_run({})) == {}


def test_end_reasons_fill_the_whole_and_the_rare_ones_are_put_together(write_run):
    reasons = [f"reason{i}" for i in range(9)]
    metrics = {
        step: {f"rollout_visual/end/{reason}": 1 / 9 for reason in reasons if reason != "reason0" or step}
        for step in range(3)
    }
    series = by_title(write_run(metrics))["End reasons"].series
    assert len(series) == 7 and series[-1].name == "all others"
    assert [round(sum(line.values[step] for line in series), 6) for step in range(3)] == [round(8 / 9, 6), 1.0, 1.0]


def test_kinds_of_bad_calls_are_lines_and_an_absent_one_is_zero(write_run):
    metrics = {
        1: {"rollout_visual/turns": 2.0, "rollout_visual/bad_call/no_json": 0.2},
        2: {"rollout_visual/turns": 2.0, "rollout_visual/bad_call/bad_box": 0.1},
    }
    series = by_title(write_run(metrics))["Bad calls, share of all calls"].series
    assert {line.name: line.values for line in series} == {"no_json": [0.2, 0.0], "bad_box": [0.0, 0.1]}


def test_several_sources_have_lines_of_their_own(write_run):
    run = write_run({0: {"val-core/a/acc/mean@1": 0.1, "val-core/b/acc/mean@1": 0.2}})
    assert [series.name for series in by_title(run)["Accuracy"].series] == ["held out, a", "held out, b"]
