# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from verl_mapo.report.load import RunData
from verl_mapo.report.selection import chapters


def titles(run, **changes):
    return [chapter.title for chapter in chapters(run, **{"samples": 12, "seed": 0} | changes)]


def test_run_has_a_held_out_chapter_and_one_for_its_first_and_last_step(whole_run):
    assert titles(RunData.open(whole_run)) == [
        "Held-out questions, before and after training",
        "Groups of one prompt, step 1",
        "Groups of one prompt, step 3",
    ]


def test_question_that_changed_comes_before_one_that_did_not(whole_run):
    held_out = chapters(RunData.open(whole_run), samples=6, seed=0)[0]
    assert [case.drawn[0][1].question for case in held_out.cases] == ["q1"]
    assert "1 got better, 0 got worse and 1 scored the same" in held_out.rule


def test_group_that_differs_in_outcome_is_drawn_with_its_extremes(whole_run):
    for chapter in chapters(RunData.open(whole_run), samples=6, seed=0)[1:]:
        (case,) = chapter.cases
        assert [(title, rollout.outcome) for title, rollout in case.drawn] == [
            ("#1, highest advantage", 1.0),
            ("#0, lowest advantage", 0.0),
        ]
        assert len(case.rollouts) == 2


def test_one_step_gives_one_chapter(write_run, make_record):
    records = {1: [make_record(session=i, outcome=float(i)) for i in range(4)]}
    assert titles(RunData.open(write_run(records=records))) == ["Groups of one prompt, step 1"]


def test_single_validation_is_shown_where_there_is_nothing_else(write_run, make_record):
    (chapter,) = chapters(RunData.open(write_run(records={0: [make_record(split="val", advantage=None)]})), 12, 0)
    assert [title for title, _ in chapter.cases[0].drawn] == ["#0, the only rollout"]


def test_without_rollouts_or_samples_there_are_no_chapters(write_run, whole_run):
    assert titles(RunData.open(write_run({1: {"a": 1.0}}, name="bare"))) == []
    assert titles(RunData.open(whole_run), samples=0) == []


def test_forks_are_those_of_the_last_step_in_which_a_prefix_recovered(forked_run):
    chapter, *groups = chapters(RunData.open(forked_run), samples=12, seed=0)
    assert chapter.title == "Resampled tool calls, step 2"
    assert chapter.rule.startswith("1 of the 2 tool calls that were resampled in step 2 recovered")
    assert [chapter.title for chapter in groups] == ["Groups of one prompt, step 1", "Groups of one prompt, step 3"]


@pytest.mark.parametrize("seed", range(4))
def test_recovered_source_is_drawn_first_beside_its_continuations(seed, forked_run):
    recovered, other = chapters(RunData.open(forked_run), 12, seed)[0].cases
    assert [(title, rollout.outcome) for title, rollout in recovered.drawn] == [
        ("#1, the source", 0.0),
        ("#3, continuation", 0.0),
        ("#4, continuation", 1.0),
    ]
    assert [rollout.session for rollout in recovered.rollouts] == [0, 1, 2]
    assert (recovered.fork.correct, recovered.fork.recovered, other.fork.correct) == (1, True, 0)
    assert recovered.fork.shared == "I should look closer.\n<tool_call>"
    assert recovered.fork.source.uid == "a" and other.fork.source.uid == "b"


@pytest.mark.parametrize(("setting", "masked"), [("mask", [True, True]), ("grpo", [True, False])])
def test_unrecovered_source_is_masked_as_the_configuration_says(setting, masked, forked_run):
    config = {"algorithm": {"axpo": {"unrecovered_source": setting}}}
    (forked_run / "run.json").write_text(json.dumps({"config": config}))
    cases = chapters(RunData.open(forked_run), 12, 0)[0].cases
    assert [case.fork.masked for case in cases] == masked


def test_whole_new_rollouts_share_no_prefix_with_their_source(write_run, make_fork):
    run = RunData.open(write_run({1: {"axpo/recovery_rate": 1.0}}, {1: make_fork([1.0, 0.0], fresh=True)}))
    (case,) = chapters(run, 12, 0)[0].cases
    assert [title for title, _ in case.drawn] == ["#1, the source", "#3, new rollout", "#4, new rollout"]
    assert (case.fork.shared, case.fork.masked, case.fork.correct) == ("", False, 1)


@pytest.mark.parametrize(("metrics", "step"), [({1: 0.0, 2: 0.0}, 2), ({1: 0.0}, 1), ({}, 2)])
def test_without_recovery_the_forks_are_those_of_the_last_step_that_has_any(metrics, step, write_run, make_fork):
    logged = {number: {"axpo/recovery_rate": rate} for number, rate in metrics.items()}
    run = write_run(logged, {number: make_fork([0.0, 0.0], number) for number in (1, 2)})
    chapter = chapters(RunData.open(run), 12, 0)[0]
    assert (
        chapter.title == f"Resampled tool calls, step {step}"
        and "the last step in which any recovered" not in chapter.rule
    )


def test_continuations_are_left_out_of_their_group(write_run, make_fork):
    run = RunData.open(write_run(records={1: make_fork([1.0, 1.0])}))
    _, groups = chapters(run, 12, 0)
    assert "0 of the 1 prompts have rollouts that differ in outcome" in groups.rule and "Continuations" in groups.rule
    assert sorted(rollout.session for rollout in groups.cases[0].rollouts) == [0, 1, 2]


@pytest.mark.parametrize("samples", [1, 4, 12, 100])
def test_samples_bound_the_number_of_drawn_trajectories(samples, write_run, make_record):
    records = [make_record(uid=f"g{i}", session=j, outcome=float(j)) for i in range(40) for j in range(2)]
    (chapter,) = chapters(RunData.open(write_run(records={1: records})), samples, seed=0)
    assert sum(len(case.drawn) for case in chapter.cases) == min(max(samples // 2 * 2, 2), 80)


def test_choice_depends_on_the_seed_alone(write_run, make_record):
    records = [make_record(uid=f"g{i}", session=j, outcome=float(j)) for i in range(40) for j in range(2)]
    path = write_run(records={1: records})

    def drawn(seed):
        return [case.drawn[0][1].uid for case in chapters(RunData.open(path), 12, seed)[0].cases]

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_tokens_are_drawn_of_a_group_of_the_last_step_that_differs_in_outcome(
    write_run, make_record, make_axpo, make_credit
):
    def group(uid, outcomes, step=2, **changes):
        return [make_record(step=step, uid=uid, session=i, outcome=o) | changes for i, o in enumerate(outcomes)]

    credit = {"credit": make_credit()}
    dark = {"credit": make_credit(focus=[None] * 4)}
    last = [*group("a", [1.0, 1.0], **credit), *group("b", [1.0, 0.0], **dark), *group("c", [0.0, 1.0], **credit)]
    continuation = make_record(step=2, uid="c", session=2, axpo=make_axpo("resample", 0), **credit)
    last += [*group("d", [1.0, 0.0]), continuation]
    run = RunData.open(write_run(records={1: group("e", [0.0, 1.0], 1, **credit), 2: last}))
    for seed in range(5):
        chapter = chapters(run, 12, seed)[-1]
        assert chapter.title == "Focus and advantage of each token, step 2" and chapter.by_token
        assert chapter.rule.startswith("1 of the 2 prompts whose tokens were recorded have")
        (case,) = chapter.cases
        assert [(title, rollout.uid) for title, rollout in case.drawn] == [
            ("#1, highest advantage", "c"),
            ("#0, lowest advantage", "c"),
        ]


def test_coloured_tokens_leave_the_other_chapters_unchanged(write_run, make_record, make_credit):
    records = [make_record(uid=f"g{i}", session=j, outcome=float(j)) for i in range(9) for j in range(2)]
    bare = chapters(RunData.open(write_run(records={1: records}, name="bare")), 12, 0)
    tokens = [record | {"credit": make_credit()} for record in records]
    *others, drawn = chapters(RunData.open(write_run(records={1: tokens}, name="tokens")), 12, 0)
    assert [chapter.by_token for chapter in bare] == [False] and drawn.by_token
    uids = [[case.drawn[0][1].uid for case in chapter.cases] for chapter in (*bare, *others)]
    assert uids[0] == uids[1]
