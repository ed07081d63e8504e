# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from verl_mapo.report.load import AxpoRecord, Rollout, RunData
from verl_mapo.settings import ConfigError


def test_lines_of_one_step_are_joined_and_the_last_value_counts(write_run):
    run = write_run({})
    lines = [
        {"step": 2, "data": {"a": 1.0, "b": 2.0}},
        {"step": 1, "data": {"a": 0.0}},
        {"step": 2, "data": {"a": 3.0}},
    ]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert RunData.open(run).metrics == {1: {"a": 0.0}, 2: {"a": 3.0, "b": 2.0}}


def test_every_attempt_has_a_file_and_the_later_one_counts(write_run):
    run = write_run()
    (run / "metrics").mkdir()
    for attempt, (step, value) in enumerate([(1, 1.0), (2, 2.0), (2, 3.0)]):
        text = json.dumps({"step": step, "data": {"a": value}})
        (run / "metrics" / f"{attempt:03d}.jsonl").write_text(text + "\n")
    assert RunData.open(run).series("a") == ([1, 2], [1.0, 3.0])


def test_config_is_that_of_run_json_or_of_hydra(write_run):
    run = write_run({})
    (run / "hydra" / ".hydra").mkdir(parents=True)
    (run / "hydra" / ".hydra" / "config.yaml").write_text("data:\n  seed: 1\n  other: ${data.seed}\n")
    assert RunData.open(run).config == {"data": {"seed": 1, "other": "${data.seed}"}}
    (run / "run.json").write_text('{"command": "c", "config": {"a": 1}}')
    assert (RunData.open(run).about, RunData.open(run).config) == ({"command": "c"}, {"a": 1})


def test_incomplete_line_is_left_out_with_a_warning(write_run, caplog):
    run = write_run({1: {"a": 1.0}})
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "da{"step": 2, "data": {}}\n{"step": 3, "data": {"a": 3.0}}\n{"step": 4, "data": {"a"')
    assert RunData.open(run).series("a") == ([1, 3], [1.0, 3.0])
    assert "line 2 is not valid JSON" in caplog.text and "line 4 is not valid JSON" in caplog.text


@pytest.mark.parametrize("cut", [0, 20])
def test_files_about_the_run_that_a_kill_cut_off_are_left_out_with_a_warning(cut, write_run, caplog):
    run = write_run({1: {"a": 1.0}})
    (run / "hydra" / ".hydra").mkdir(parents=True)
    (run / "hydra" / ".hydra" / "config.yaml").write_text("data: {seed: [1"[:cut])
    (run / "run.json").write_text('{"command": "verl-mapo train", "versions": {}}'[:cut])
    found = RunData.open(run)
    assert (found.about, found.config, found.series("a")) == ({}, {}, ([1], [1.0]))
    assert "run.json cannot be read and is left out" in caplog.text


def test_rollouts_whose_last_line_a_kill_cut_off_are_read_without_it(write_run, make_record, caplog):
    run = write_run(records={1: [make_record(step=1)] * 2})
    file = run / "trajectories" / "train" / "1.jsonl"
    whole = file.read_bytes()
    for cut in (1, 2, 100):
        file.write_bytes(whole[:-cut])
        assert len(RunData.open(run).rollouts(1, "train")) == (2 if cut == 1 else 1)
    assert "line 2 is not valid JSON" in caplog.text


def test_values_that_are_not_finite_numbers_are_left_out(write_run):
    run = write_run({})
    (run / "metrics.jsonl").write_text('{"step": 1, "data": {"a": null, "b": NaN, "c": "text", "d": Infinity, "e": 2}}')
    assert RunData.open(run).metrics == {1: {"e": 2.0}}


def test_folder_that_is_not_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds neither metrics nor trajectories"):
        RunData.open(tmp_path)


def test_steps_are_sorted_as_numbers(write_run, make_record):
    run = RunData.open(write_run(records={step: [make_record(step=step)] for step in (10, 9, 100)}))
    assert list(run.files["train"]) == [9, 10, 100]
    assert run.ends("train") == [9, 100]
    assert run.ends("val") == []


def test_validation_metric_of_a_data_source_is_the_mean_over_most_samples(write_run):
    names = ["val-core/a/b/acc/mean@1", "val-core/a/b/acc/mean@8", "val-aux/c/acc/mean@1", "val-aux/c/acc/best@8/mean"]
    run = RunData.open(write_run({0: dict.fromkeys(names, 0.5)}))
    assert run.validation("acc") == {"a/b": "val-core/a/b/acc/mean@8", "c": "val-aux/c/acc/mean@1"}
    assert run.validation("alignment") == {}


def test_held_out_questions_are_matched_although_their_uids_differ(whole_run):
    held_out = RunData.open(whole_run).held_out
    assert (held_out.first, held_out.last) == (0, 3)
    assert [(before[0].question, after[0].question) for before, after in held_out.pairs] == [("q0", "q0"), ("q1", "q1")]


def test_one_validation_is_not_compared(write_run, make_record):
    assert RunData.open(write_run(records={4: [make_record(split="val")]})).held_out is None


def test_only_the_first_and_last_validation_are_read(whole_run):
    run = RunData.open(whole_run)
    assert run.held_out is not None
    assert sorted(int(file.stem) for file in run._rollouts) == [0, 3]


def test_same_question_of_two_data_sources_is_two_questions(two_source_run):
    pairs = RunData.open(two_source_run).held_out.pairs
    assert len(pairs) == 40
    assert all(first[0].data_source == last[0].data_source for first, last in pairs)


def test_rollout_is_read_with_typed_fields(make_rollout, make_turn, make_axpo, make_credit):
    rollout = make_rollout(data_source="virl39k", axpo=make_axpo("source", 1), credit=make_credit())
    assert rollout.data_source == "virl39k"
    assert rollout.trajectory.turns[0] == make_turn()
    assert rollout.axpo == AxpoRecord("source", 1, 7, None, None, None, None)
    assert rollout.credit.trajectory_factor == 1.25


def test_role_of_a_rollout_is_plain_without_axpo(make_rollout, make_axpo):
    roles = [make_rollout(axpo=axpo) for axpo in (None, make_axpo(), make_axpo("source"), make_axpo("resample"))]
    assert [rollout.role for rollout in roles] == ["plain", "plain", "source", "resample"]
    assert [rollout.is_source for rollout in roles] == [False, False, True, False]
    assert [rollout.is_continuation for rollout in roles] == [False, False, False, True]


def test_rollout_has_focus_where_the_score_of_a_token_was_recorded(make_rollout, make_credit):
    assert not make_rollout().has_focus
    assert not make_rollout(credit=make_credit(focus=[None] * 4)).has_focus
    assert make_rollout(credit=make_credit()).has_focus


def test_axpo_metrics_are_found(whole_run, forked_run):
    assert RunData.open(forked_run).has_axpo_metrics
    assert not RunData.open(whole_run).has_axpo_metrics


def test_enabled_methods_come_from_the_configuration(write_run):
    config = {"algorithm": {"adv_estimator": "axpo", "visual_credit": {"enable": True}}}
    assert [method.name for method in RunData.open(write_run({}, config=config)).methods] == ["axpo", "vgpo"]
    bare = RunData.open(write_run({}, name="bare"))
    assert bare.methods == [] and [method.name for method in bare.known_methods] == ["axpo", "mapo", "vgpo", "lens"]


def test_rollout_of_another_agent_loop_has_no_turns_and_unknown_keys_are_ignored(make_record):
    rollout = Rollout.from_record(make_record() | {"trajectory": None, "key_of_another_package": 1})
    assert rollout.trajectory.turns == [] and rollout.trajectory.images == []


def test_training_rollouts_are_those_of_all_steps(whole_run):
    run = RunData.open(whole_run)
    assert [rollout.step for rollout in run.training_rollouts()] == [step for step in (1, 2, 3) for _ in range(4)]
    assert run._rollouts == {}, "they are not kept in memory"
