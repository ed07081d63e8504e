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

import json

import pytest

from verl_mapo.report.load import Rollout, Run
from verl_mapo.settings import ConfigError


def test_lines_of_one_step_are_joined_and_the_last_value_counts(write_run):
    run = write_run({})
    lines = [
        {"step": 2, "data": {"a": 1.0, "b": 2.0}},
        {"step": 1, "data": {"a": 0.0}},
        {"step": 2, "data": {"a": 3.0}},
    ]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert Run.open(run).metrics == {1: {"a": 0.0}, 2: {"a": 3.0, "b": 2.0}}


def test_every_attempt_has_a_file_and_the_later_one_counts(write_run):
    run = write_run()
    (run / "metrics").mkdir()
    for attempt, (step, value) in enumerate([(1, 1.0), (2, 2.0), (2, 3.0)]):
        text = json.dumps({"step": step, "data": {"a": value}})
        (run / "metrics" / f"{attempt:03d}.jsonl").write_text(text + "\n")
    assert Run.open(run).series("a") == ([1, 2], [1.0, 3.0])


def test_the_config_is_that_of_run_json_or_of_hydra(write_run):
    run = write_run({})
    (run / "hydra" / ".hydra").mkdir(parents=True)
    (run / "hydra" / ".hydra" / "config.yaml").write_text("data:\n  seed: 1\n  other: ${data.seed}\n")
    assert Run.open(run).config == {"data": {"seed": 1, "other": "${data.seed}"}}
    (run / "run.json").write_text('{"command": "c", "config": {"a": 1}}')
    assert (Run.open(run).about, Run.open(run).config) == ({"command": "c"}, {"a": 1})


def test_a_line_cut_short_is_left_out_wherever_it_is(write_run, caplog):
    run = write_run({1: {"a": 1.0}})
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "da{"step": 2, "data": {}}\n{"step": 3, "data": {"a": 3.0}}\n{"step": 4, "data": {"a"')
    assert Run.open(run).series("a") == ([1, 3], [1.0, 3.0])
    assert "line 2 is not whole" in caplog.text and "line 4 is not whole" in caplog.text


def test_what_is_not_a_finite_number_is_no_value(write_run):
    run = write_run({})
    (run / "metrics.jsonl").write_text('{"step": 1, "data": {"a": null, "b": NaN, "c": "text", "d": Infinity, "e": 2}}')
    assert Run.open(run).metrics == {1: {"e": 2.0}}


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(ConfigError, match="holds neither metrics nor trajectories"):
        Run.open(tmp_path)


def test_steps_are_in_the_order_of_numbers(write_run, make_line):
    run = Run.open(write_run(lines={step: [make_line(step=step)] for step in (10, 9, 100)}))
    assert list(run.files["train"]) == [9, 10, 100]
    assert run.ends("train") == [9, 100]
    assert run.ends("val") == []


def test_validation_metrics_by_source_over_most_samples(write_run):
    names = ["val-core/a/b/acc/mean@1", "val-core/a/b/acc/mean@8", "val-aux/c/acc/mean@1", "val-aux/c/acc/best@8/mean"]
    run = Run.open(write_run({0: dict.fromkeys(names, 0.5)}))
    assert run.validation("acc") == {"a/b": "val-core/a/b/acc/mean@8", "c": "val-aux/c/acc/mean@1"}
    assert run.validation("alignment") == {}


def test_held_out_questions_are_matched_although_their_uid_changes(whole_run):
    held_out = Run.open(whole_run).held_out
    assert (held_out.first, held_out.last) == (0, 3)
    assert [(before[0].question, after[0].question) for before, after in held_out.pairs] == [("q0", "q0"), ("q1", "q1")]


def test_one_validation_is_nothing_to_compare(write_run, make_line):
    assert Run.open(write_run(lines={4: [make_line(split="val")]})).held_out is None


def test_only_the_first_and_last_validation_are_read(whole_run):
    run = Run.open(whole_run)
    assert run.held_out is not None
    assert sorted(int(file.stem) for file in run._rollouts) == [0, 3]


def test_a_rollout_has_a_role_where_axpo_was_at_work(make_rollout):
    assert (make_rollout().axpo, make_rollout(axpo=None).role) == (None, "plain")
    assert make_rollout(axpo={"role": "source"}).role == "source"


def test_a_rollout_is_focused_where_the_focus_of_a_token_was_written_down(make_line, make_rollout, make_credit):
    assert "credit" not in make_line() and make_rollout().credit is None, "of a run before there was visual credit"
    assert not make_rollout().focused and not make_rollout(credit=make_credit(focus=[None] * 4)).focused
    assert make_rollout(credit=make_credit()).focused


def test_a_run_was_explored_where_its_metrics_say_so(whole_run, forked_run):
    assert Run.open(forked_run).explored
    assert not Run.open(whole_run).explored


def test_a_rollout_of_another_loop_has_no_turns(make_line):
    rollout = Rollout.of(make_line() | {"trajectory": None, "something_new": 1})
    assert rollout.trajectory["turns"] == [] and rollout.trajectory["images"] == []
