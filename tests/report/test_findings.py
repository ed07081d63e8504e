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

from verl_mapo.report.findings import alarms, headlines
from verl_mapo.report.load import Run


def raised(write_run, **series):
    names = {name: name.replace("__", "/") for name in series}
    steps = range(len(next(iter(series.values()))))
    metrics = {step: {names[name]: values[step] for name, values in series.items()} for step in steps}
    return {alarm.watched: alarm.sentence for alarm in alarms(Run.open(write_run(metrics)))}


@pytest.mark.parametrize(
    ("metric", "quiet", "wrong", "words"),
    [
        ("rollout_visual__tool_rate", [0.9] * 6 + [0.4] * 6, [0.9] * 6 + [0.2] * 6, "fell from 90% to 20%"),
        ("mapo__std_floor/outcome_share", [0.5], [0.6], "In 60% of groups"),
        ("mapo__std_floor/alignment_share", [0.4], [0.51], "In 51% of groups"),
        ("mapo__alignment/unscored_share", [0.1], [0.2], "20% of visual turns"),
        ("rollout_visual__repeat_iou", [0.8], [0.9], "IoU of 0.90"),
        ("rollout_visual__crop_area", [0.6], [0.75], "covers 75%"),
    ],
)
def test_every_alarm_is_quiet_up_to_its_limit_and_raised_beyond(metric, quiet, wrong, words, write_run):
    (sentence,) = raised(lambda metrics: write_run(metrics, name="quiet"), **{metric: quiet}).values()
    assert sentence == ""
    (sentence,) = raised(lambda metrics: write_run(metrics, name="wrong"), **{metric: wrong}).values()
    assert words in sentence and sentence.endswith(".")


def test_a_series_that_was_not_logged_is_not_watched(write_run):
    assert set(raised(write_run, rollout_visual__tool_rate=[1.0])) == {"tool rate"}


def test_headline_of_a_whole_run(whole_run):
    accuracy, alignment = headlines(Run.open(whole_run))
    assert (accuracy.title, accuracy.first, accuracy.last) == ("Held-out accuracy", "0.0%", "50.0%")
    assert accuracy.sentence.startswith("No clear change: +50.0 points from step 0 to step 3. Of 2 questions")
    assert "1 got better and 0 worse; chance alone moves it by about ±50.0 points" in accuracy.sentence
    assert (alignment.first, alignment.last) == ("0.200", "0.300")


@pytest.mark.parametrize(("then", "now", "verdict"), [(0.0, 1.0, "Up: +100.0"), (1.0, 0.0, "Down: \u2212100.0")])
def test_direction_is_stated_where_it_is_clear(then, now, verdict, write_run, make_line):
    lines = {
        step: [make_line(step=step, split="val", question=f"q{i}", outcome=outcome) for i in range(20)]
        for step, outcome in ((0, then), (5, now))
    }
    metrics = {0: {"val-core/toy/acc/mean@1": then}, 5: {"val-core/toy/acc/mean@1": now}}
    (headline,) = headlines(Run.open(write_run(metrics, lines)))
    assert headline.sentence.startswith(verdict)


def test_what_axpo_recovered_is_a_headline_with_a_verdict(forked_run):
    (headline,) = headlines(Run.open(forked_run))
    assert (headline.title, headline.first, headline.last) == ("Recovered by resampling", "", "25.0%")
    assert headline.sentence.startswith("Not clear yet: between")
    assert "1 of 4 resampled tool calls recovered, 4 of 4 questions with tool users triggered." in headline.sentence
    assert "The paper reports" in headline.sentence and "slots" not in headline.sentence


def test_the_slots_are_told_where_the_run_says_how_many_there_are(forked_run):
    config = {
        "algorithm": {"adv_estimator": "axpo", "axpo": {"continuations": 2, "ratio": 1.0}},
        "data": {"train_batch_size": 2},
        "actor_rollout_ref": {"rollout": {"n": 3}},
    }
    (forked_run / "run.json").write_text(json.dumps({"config": config}))
    (headline,) = headlines(Run.open(forked_run))
    assert "4 of 9 slots were used." in headline.sentence


def test_nothing_resampled_has_no_share(write_run):
    (headline,) = headlines(Run.open(write_run({1: {"axpo/slots/used": 0.0}})))
    assert headline.last == "\u2013" and headline.sentence.startswith("Not clear: there are no rollouts.")


def test_without_questions_no_chance_is_claimed(write_run):
    run = Run.open(write_run({0: {"val-core/toy/acc/mean@1": 0.5}, 5: {"val-core/toy/acc/mean@1": 0.6}}))
    (headline,) = headlines(run)
    assert headline.sentence.startswith("Up: +10.0 points from step 0 to step 5. Single questions could not be matched")


def test_one_validation_has_no_direction(write_run):
    (headline,) = headlines(Run.open(write_run({0: {"val-core/toy/acc/mean@1": 0.5}})))
    assert (headline.first, headline.last) == ("", "50.0%")
    assert "no direction" in headline.sentence


def test_several_sources_are_told_apart(write_run):
    metrics = {step: {"val-core/a/acc/mean@1": 0.1, "val-core/b/acc/mean@1": 0.2} for step in (0, 1)}
    assert [headline.title for headline in headlines(Run.open(write_run(metrics)))] == [
        "Held-out accuracy on a",
        "Held-out accuracy on b",
    ]
