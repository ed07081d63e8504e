# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from verl_mapo.report.findings import checked_alarms, headlines
from verl_mapo.report.load import RunData
from verl_mapo.rollout.statuses import EndReason


def raised(write_run, **series):
    names = {name: name.replace("__", "/") for name in series}
    steps = range(len(next(iter(series.values()))))
    metrics = {step: {names[name]: values[step] for name, values in series.items()} for step in steps}
    return {alarm.watched: alarm.sentence for alarm in checked_alarms(RunData.open(write_run(metrics)))}


@pytest.mark.parametrize(
    ("metric", "quiet", "wrong", "words"),
    [
        ("rollout_visual__tool_rate", [0.9] * 6 + [0.4] * 6, [0.9] * 6 + [0.2] * 6, "fell from 90% to 20%"),
        ("mapo__std_floor/outcome_share", [0.5], [0.6], "In 60% of groups"),
        ("mapo__std_floor/alignment_share", [0.4], [0.51], "In 51% of groups"),
        ("mapo__alignment/unscored_share", [0.1], [0.2], "20% of visual turns"),
        ("rollout_visual__repeat_iou", [0.8], [0.9], "IoU of 0.90"),
        ("rollout_visual__empty/share", [0.05], [0.1], "The last turn of 10% of the rollouts has no text"),
        ("rollout_visual__repeating/share", [0.05], [0.06], "The last turn of 6% of the rollouts says the same"),
        ("rollout_visual__crop_area", [0.6], [0.75], "covers 75%"),
        ("rollout_visual__errors/share", [0.0] * 20, [0.1] + [0.0] * 19, "On 0.5% of the training rollouts the code"),
        ("rollout_visual__unreadable_images/share", [0.0] * 20, [0.4] + [0.0] * 19, "2.0% of the training rollouts"),
    ],
)
def test_every_alarm_is_raised_beyond_its_limit_and_not_at_it(metric, quiet, wrong, words, write_run):
    (sentence,) = raised(lambda metrics: write_run(metrics, name="quiet"), **{metric: quiet}).values()
    assert sentence == ""
    (sentence,) = raised(lambda metrics: write_run(metrics, name="wrong"), **{metric: wrong}).values()
    assert words in sentence and sentence.endswith(".")


def test_held_out_images_that_cannot_be_shown_raise_an_alarm(write_run, make_record):
    def sentences(name, ends):
        records = [make_record(split="val", uid=str(number)) for number in range(len(ends))]
        for record, end in zip(records, ends, strict=True):
            record["trajectory"]["end_reason"] = end.value
        run = RunData.open(write_run({5: {"x": 1.0}}, {5: records}, name))
        return {alarm.watched: alarm.sentence for alarm in checked_alarms(run)}

    missing, answered = EndReason.UNREADABLE_IMAGE, EndReason.ANSWER
    assert sentences("sound", [answered] * 3)["unreadable held-out images"] == ""
    found = sentences("broken", [missing] + [answered] * 3)["unreadable held-out images"]
    assert "25.0% of the held-out rollouts" in found


def test_held_out_errors_raise_an_alarm_with_the_first_one(write_run, make_record):
    def sentence(name, errors):
        records = [make_record(split="val", uid=str(number)) for number in range(len(errors))]
        for record, error in zip(records, errors, strict=True):
            record["trajectory"]["error"] = error
        run = RunData.open(write_run({5: {"x": 1.0}}, {5: records}, name))
        return {alarm.watched: alarm.sentence for alarm in checked_alarms(run)}["held-out errors in code"]

    assert sentence("sound", ["", ""]) == ""
    found = sentence("broken", ["", "The tool zoom raised KeyError.", "The tool mark raised OSError.", ""])
    assert "failed on 50.0% of the held-out" in found and found.endswith(
        "The first error is: The tool zoom raised KeyError."
    )


def test_series_that_was_not_logged_is_not_watched(write_run):
    assert set(raised(write_run, rollout_visual__tool_rate=[1.0])) == {"tool rate"}


def test_headlines_compare_the_first_and_the_last_validation(whole_run):
    accuracy, alignment = headlines(RunData.open(whole_run))
    assert (accuracy.title, accuracy.first, accuracy.last) == ("Held-out accuracy", "0.0%", "50.0%")
    assert accuracy.sentence.startswith("No clear change: +50.0 points from step 0 to step 3. Of 2 questions")
    assert "1 got better and 0 got worse; by chance alone the figure changes by about ±50.0 points" in accuracy.sentence
    assert (alignment.first, alignment.last) == ("0.200", "0.300")


@pytest.mark.parametrize(("then", "now", "verdict"), [(0.0, 1.0, "Up: +100.0"), (1.0, 0.0, "Down: \u2212100.0")])
def test_change_beyond_chance_is_named_up_or_down(then, now, verdict, write_run, make_record):
    records = {
        step: [make_record(step=step, split="val", question=f"q{i}", outcome=outcome) for i in range(20)]
        for step, outcome in ((0, then), (5, now))
    }
    metrics = {0: {"val-core/toy/acc/mean@1": then}, 5: {"val-core/toy/acc/mean@1": now}}
    (headline,) = headlines(RunData.open(write_run(metrics, records)))
    assert headline.sentence.startswith(verdict)


def test_recovery_by_axpo_is_a_headline_with_a_verdict(forked_run):
    (headline,) = headlines(RunData.open(forked_run))
    assert (headline.title, headline.first, headline.last) == ("Recovered by resampling", "", "25.0%")
    assert headline.sentence.startswith("Not clear yet: between")
    assert "1 of 4 resampled tool calls recovered, 4 of 4 questions with tool users triggered." in headline.sentence
    assert "the paper reports" in headline.sentence and "slots" not in headline.sentence


def test_slots_are_counted_where_the_configuration_has_their_number(forked_run):
    config = {
        "algorithm": {"adv_estimator": "axpo", "axpo": {"continuations": 2, "ratio": 1.0}},
        "data": {"train_batch_size": 2},
        "actor_rollout_ref": {"rollout": {"n": 3}},
    }
    (forked_run / "run.json").write_text(json.dumps({"config": config}))
    (headline,) = headlines(RunData.open(forked_run))
    assert "4 of 9 slots were used." in headline.sentence


def test_recovery_has_no_share_where_nothing_was_resampled(write_run):
    (headline,) = headlines(RunData.open(write_run({1: {"axpo/slots/used": 0.0}})))
    assert headline.last == "\u2013" and headline.sentence.startswith("Not clear: there are no rollouts.")


def test_without_records_of_questions_chance_is_not_estimated(write_run):
    run = RunData.open(write_run({0: {"val-core/toy/acc/mean@1": 0.5}, 5: {"val-core/toy/acc/mean@1": 0.6}}))
    (headline,) = headlines(run)
    assert headline.sentence.startswith(
        "Up: +10.0 points from step 0 to step 5. The answers to single questions were not recorded"
    )


def test_one_validation_has_no_change_to_report(write_run):
    (headline,) = headlines(RunData.open(write_run({0: {"val-core/toy/acc/mean@1": 0.5}})))
    assert (headline.first, headline.last) == ("", "50.0%")
    assert "no change to report" in headline.sentence


def test_each_data_source_has_a_headline_and_chance_is_estimated_from_its_questions(two_source_run):
    a, b = headlines(RunData.open(two_source_run))
    assert (a.title, b.title) == ("Held-out accuracy on a", "Held-out accuracy on b")
    assert a.sentence.startswith("Up: +100.0 points from step 0 to step 5. Of 20 questions in both validations, 20 got")
    # b: ten of twenty questions changed, so the standard error is sqrt(10) / 20
    assert b.sentence.startswith("Unchanged") or b.sentence.startswith("No clear change: +0.0 points")
    assert "Of 20 questions in both validations, 5 got better and 5 got worse" in b.sentence and "±15.8" in b.sentence


def test_data_source_without_recorded_questions_uses_none_of_another(two_source_run):
    for file in (two_source_run / "trajectories" / "val").glob("*.jsonl"):
        file.write_text("".join(line for line in file.open() if json.loads(line)["data_source"] == "a"))
    a, b = headlines(RunData.open(two_source_run))
    assert "Of 20 questions" in a.sentence and "The answers to single questions were not recorded" in b.sentence
