# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Sentences about the metrics of a run: held-out figures and how they changed, recovery by AXPO, and alarms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from statistics import fmean

from verl_mapo.charts import Alarm
from verl_mapo.report.load import Rollout, RunData
from verl_mapo.report.panels import ALARMS
from verl_mapo.report.recovery import REFERENCE, Rate, recovery_of
from verl_mapo.rollout.statuses import EndReason

EDGE = 3
"""Steps over which the start and the end of a series are averaged."""


@dataclass(frozen=True)
class CheckedAlarm:
    """An alarm checked against the metrics of a run.

    Attributes:
        watched: the name of what is watched, in a few words.
        sentence: what is wrong; empty where the alarm is not raised.
    """

    watched: str
    sentence: str


@dataclass(frozen=True)
class Headline:
    """One figure of the whole run, as text.

    Attributes:
        title: name of the figure.
        first: its value at the first validation; empty where there is only one value.
        last: its value at the last validation.
        sentence: what the values mean.
    """

    title: str
    first: str
    last: str
    sentence: str


def checked_alarms(run: RunData) -> list[CheckedAlarm]:
    """The alarms, raised or not, for which the run has logged the metric."""
    alarms = [*ALARMS, *chain.from_iterable(method.alarms for method in run.known_methods)]
    checked = [_checked(alarm, values) for alarm in alarms if (values := run.series(alarm.metric)[1])]
    return [*checked, *_held_out_failures(run)]


def _checked(alarm: Alarm, values: list[float]) -> CheckedAlarm:
    width = len(values) if alarm.whole_run else min(EDGE, (len(values) + 1) // 2)
    first, last = fmean(values[:width]), fmean(values[-width:])
    raised = last < alarm.limit * first if alarm.falls else last > alarm.limit
    return CheckedAlarm(alarm.watched, alarm.sentence.format(first=first, last=last) if raised else "")


def _held_out_failures(run: RunData) -> list[CheckedAlarm]:
    """The alarms on rollouts of the last validation that count as wrong answers and are none; those that can occur."""
    rollouts = run.rollouts(run.ends("val")[-1], "val") if run.ends("val") else []
    trajectories = [rollout.trajectory for rollout in rollouts]
    unreadable = [found.end_reason is EndReason.UNREADABLE_IMAGE for found in trajectories if found.images]
    errors = [bool(found.error) for found in trajectories]
    wrong = "and these rollouts count as wrong answers: the held-out accuracy is lower than the model's."
    alarms = []
    if unreadable:
        sentence = (
            f"The images of {fmean(unreadable):.1%} of the held-out rollouts cannot be shown, {wrong} The log of the "
            "run names the images."
        )
        alarms.append(CheckedAlarm("unreadable held-out images", sentence if any(unreadable) else ""))
    if errors:
        first = next((found.error for found in trajectories if found.error), "")
        sentence = (
            f"The code of a tool or of the reward failed on {fmean(errors):.1%} of the held-out rollouts, {wrong} "
        )
        alarms.append(
            CheckedAlarm("held-out errors in code", f"{sentence}The first error is: {first}" if first else "")
        )
    return alarms


def headlines(run: RunData) -> list[Headline]:
    """Held-out accuracy and alignment of every data source, and the share of tool calls that AXPO recovered."""
    held_out = [
        _headline(run, figure, data_source, metric, several=len(metrics) > 1)
        for figure in _FIGURES
        for metrics in [run.validation(figure.metric)]
        for data_source, metric in metrics.items()
    ]
    return [*held_out, _recovered(run)] if run.has_axpo_metrics else held_out


def _recovered(run: RunData) -> Headline:
    found = recovery_of(run)
    counts = [
        f"{_of(found.recovered)} resampled tool calls recovered",
        f"{_of(found.triggered)} questions with tool users triggered",
    ]
    if found.slots is not None:
        counts.append(f"{_of(found.slots)} slots were used")
    share = found.recovered.share
    sentence = f"{found.verdict} In all, {', '.join(counts)}. {REFERENCE}"
    return Headline("Recovered by resampling", "", "\u2013" if share is None else f"{share:.1%}", sentence)


def _of(rate: Rate) -> str:
    return f"{rate.hits:,} of {rate.total:,}"


@dataclass(frozen=True)
class _Figure:
    """A held-out figure.

    Attributes:
        metric: its name in verl's validation metrics.
        title: its name in headlines.
        value: the figure of one rollout; None where the rollout has none.
        scale: factor of the printed number.
        digits: decimal places of the printed number.
        unit: unit of a change; a figure with a unit is printed in percent.
    """

    metric: str
    title: str
    value: Callable[[Rollout], float | None]
    scale: float
    digits: int
    unit: str

    def text(self, value: float) -> str:
        return f"{self.scale * value:.{self.digits}f}{'%' if self.unit else ''}".replace("-", "\u2212")

    def change(self, value: float, sign: str = "+") -> str:
        return f"{self.scale * value:{sign}.{self.digits}f}{self.unit}".replace("-", "\u2212")


_FIGURES = [
    _Figure("acc", "accuracy", lambda rollout: rollout.known_outcome, 100, 1, " points"),
    _Figure("alignment", "alignment", lambda rollout: rollout.alignment, 1, 3, ""),
]


def _headline(run: RunData, figure: _Figure, data_source: str, metric: str, several: bool) -> Headline:
    steps, values = run.series(metric)
    title = f"Held-out {figure.title}" + (f" on {data_source}" if several else "")
    if len(steps) < 2:
        sentence = f"There is only one validation, at step {steps[0]}, so there is no change to report."
        return Headline(title, "", figure.text(values[0]), sentence)
    when = f"from step {steps[0]} to step {steps[-1]}"
    sentence = _direction(figure, values[-1] - values[0], when, _changes(run, figure, data_source))
    return Headline(title, figure.text(values[0]), figure.text(values[-1]), sentence)


def _direction(figure: _Figure, change: float, when: str, changes: list[float]) -> str:
    """Whether a change is larger than chance.

    Args:
        figure: the figure that changed.
        change: the difference of its last and its first value.
        when: the steps of both values, as text.
        changes: the changes of single questions; empty where they are not known.
    """
    direction = "Unchanged" if change == 0 else "Up" if change > 0 else "Down"
    if not changes:
        return (
            f"{direction}: {figure.change(change)} {when}. The answers to single questions were not recorded, so it "
            "is not known how much of this is chance."
        )
    # The standard error of the change under the hypothesis of no change, estimated from the changes of the questions.
    error = (sum(each**2 for each in changes)) ** 0.5 / len(changes)
    better, worse = sum(each > 0 for each in changes), sum(each < 0 for each in changes)
    verdict = direction if abs(change) > 2 * error else "No clear change"
    return (
        f"{verdict}: {figure.change(change)} {when}. Of {len(changes)} questions in both validations, {better} got "
        f"better and {worse} got worse; by chance alone the figure changes by about ±{figure.change(error, '')}."
    )


def _changes(run: RunData, figure: _Figure, data_source: str) -> list[float]:
    """Change of each question of a data source between the first and the last validation."""
    found = []
    for pair in run.held_out.pairs if run.held_out else []:
        if pair[0][0].data_source == data_source:
            first, last = ([figure.value(rollout) for rollout in rollouts] for rollouts in pair)
            if None not in first + last:
                found.append(fmean(last) - fmean(first))
    return found
