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
"""What the numbers of a run say in sentences: held-out figures, first against last, what AXPO recovered, alarms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from verl_mapo.report.load import HeldOut, Rollout, Run
from verl_mapo.report.recovery import REFERENCE, Rate, recovery_of

EDGE = 3
"""Steps over which the start and the end of a series are averaged."""
TOOL_RATE_FALL, FLOOR_SHARE, UNSCORED_SHARE, REPEAT_IOU, CROP_AREA = 1 / 3, 0.5, 0.1, 0.8, 0.6
"""Where an alarm is raised: fall of the tool rate to this part of its start, and upper limits at the end."""


@dataclass(frozen=True)
class Alarm:
    """Something to watch.

    Attributes:
        watched: in a few words.
        sentence: what is wrong; empty while nothing is.
    """

    watched: str
    sentence: str


@dataclass(frozen=True)
class Headline:
    """One figure, as text, at the first and at the last validation; ``first`` is empty where there is but one."""

    title: str
    first: str
    last: str
    sentence: str


def alarms(run: Run) -> list[Alarm]:
    """Everything that the metrics of this run allow to watch, raised or not."""
    found = []
    for watch in _WATCHES:
        _, values = run.series(watch.metric)
        if values:
            width = min(EDGE, (len(values) + 1) // 2)
            first, last = fmean(values[:width]), fmean(values[-width:])
            wrong = last < watch.limit * first if watch.falls else last > watch.limit
            found.append(Alarm(watch.watched, watch.sentence.format(first=first, last=last) if wrong else ""))
    return found


def headlines(run: Run) -> list[Headline]:
    """Held-out accuracy and alignment of every data source, and what AXPO recovered."""
    held_out = [
        _headline(run, figure, source, several=len(sources) > 1)
        for figure in _FIGURES
        for sources in [run.validation(figure.metric)]
        for source in sources
    ]
    return [*held_out, _recovered(run)] if run.explored else held_out


def _recovered(run: Run) -> Headline:
    found = recovery_of(run)
    counts = [
        f"{_of(found.recovered)} resampled tool calls recovered",
        f"{_of(found.triggered)} questions with tool users triggered",
    ]
    if found.slots is not None:
        counts.append(f"{_of(found.slots)} slots were used")
    share = found.recovered.share
    sentence = f"{found.verdict} In all {', '.join(counts)}. {REFERENCE}"
    return Headline("Recovered by resampling", "", "\u2013" if share is None else f"{share:.1%}", sentence)


def _of(rate: Rate) -> str:
    return f"{rate.hits:,} of {rate.total:,}"


@dataclass(frozen=True)
class _Figure:
    """A held-out figure: its name in verl's metrics, where a rollout has it, and how its numbers are written."""

    metric: str
    title: str
    value: Callable[[Rollout], float | None]
    scale: float
    digits: int
    unit: str

    def text(self, value: float) -> str:
        return f"{self.scale * value:.{self.digits}f}{'%' if self.unit else ''}"

    def change(self, value: float, sign: str = "+") -> str:
        return f"{self.scale * value:{sign}.{self.digits}f}{self.unit}".replace("-", "\u2212")


_FIGURES = [
    _Figure("acc", "accuracy", lambda rollout: rollout.outcome, 100, 1, " points"),
    _Figure("alignment", "alignment", lambda rollout: rollout.alignment, 1, 3, ""),
]


def _headline(run: Run, figure: _Figure, source: str, several: bool) -> Headline:
    steps, values = run.series(run.validation(figure.metric)[source])
    title = f"Held-out {figure.title}" + (f" on {source}" if several else "")
    if len(steps) < 2:
        sentence = f"One validation only, at step {steps[0]}: there is no direction to tell."
        return Headline(title, "", figure.text(values[0]), sentence)
    # A rollout does not say its source: with several, changes of single questions cannot be told apart.
    changes = _changes(run.held_out, figure.value) if run.held_out and not several else []
    when = f"from step {steps[0]} to step {steps[-1]}"
    sentence = _direction(figure, values[-1] - values[0], when, changes)
    return Headline(title, figure.text(values[0]), figure.text(values[-1]), sentence)


def _direction(figure: _Figure, change: float, when: str, changes: list[float]) -> str:
    way = "Unchanged" if change == 0 else "Up" if change > 0 else "Down"
    if not changes:
        return (
            f"{way}: {figure.change(change)} {when}. Single questions could not be matched, so how much of it is "
            "chance cannot be told."
        )
    # The standard error there would be without a true change, from the differences of the same questions.
    error = (sum(each**2 for each in changes)) ** 0.5 / len(changes)
    better, worse = sum(each > 0 for each in changes), sum(each < 0 for each in changes)
    verdict = way if abs(change) > 2 * error else "No clear change"
    return (
        f"{verdict}: {figure.change(change)} {when}. Of {len(changes)} questions asked both times {better} got better "
        f"and {worse} worse; chance alone moves it by about ±{figure.change(error, '')}."
    )


def _changes(held_out: HeldOut, value: Callable[[Rollout], float | None]) -> list[float]:
    found = []
    for before, after in held_out.pairs:
        then, now = ([value(rollout) for rollout in rollouts] for rollouts in (before, after))
        if None not in then + now:
            found.append(fmean(now) - fmean(then))
    return found


@dataclass(frozen=True)
class _Watch:
    """An alarm: the end of the series is above ``limit`` or, where it ``falls``, below that part of the start."""

    metric: str
    watched: str
    limit: float
    sentence: str
    falls: bool = False


_WATCHES = [
    _Watch(
        "rollout_visual/tool_rate",
        "tool rate",
        TOOL_RATE_FALL,
        "It fell from {first:.0%} to {last:.0%}: the model is giving up looking; compare the advantages of rollouts "
        "with and without a tool call.",
        falls=True,
    ),
    _Watch(
        "mapo/std_floor/outcome_share",
        "outcomes of a group",
        FLOOR_SHARE,
        "In {last:.0%} of groups all rollouts have the same outcome, so these groups teach nothing about the answer: "
        "the questions are too easy or too hard.",
    ),
    _Watch(
        "mapo/std_floor/alignment_share",
        "alignments of a group",
        FLOOR_SHARE,
        "In {last:.0%} of groups the alignments differ so little that the floor under their standard deviation acts: "
        "the scorer does not tell these crops apart.",
    ),
    _Watch(
        "mapo/alignment/unscored_share",
        "unscored turns",
        UNSCORED_SHARE,
        "{last:.0%} of visual turns have no score: the scorer fails or is too slow, and the alignment of the others "
        "may not speak for them.",
    ),
    _Watch(
        "rollout_visual/repeat_iou",
        "repeated boxes",
        REPEAT_IOU,
        "Repeated boxes overlap with an IoU of {last:.2f}: the model looks at one place again and again and is paid "
        "for it each time.",
    ),
    _Watch(
        "rollout_visual/crop_area",
        "crop area",
        CROP_AREA,
        "The mean crop covers {last:.0%} of the image: a crop that shows everything fits any label, which is the usual "
        "way to be paid without looking.",
    ),
]
