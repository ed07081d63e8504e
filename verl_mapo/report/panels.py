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
"""The learning curves there are to draw, each with what a reader should look for in it."""

from __future__ import annotations

from dataclasses import dataclass

from verl_mapo.report.load import Run
from verl_mapo.report.watched import BLUE, EXPLORING, GREEN, GREY, HELD_OUT, KINDS, LEARNING, LOOKING, PURPLE, VERMILION

_LINES = [BLUE, VERMILION, GREEN, PURPLE]
_STACK = ["#0072B2", "#E69F00", "#56B4E9", "#D55E00", "#009E73", "#CC79A7", "#9aa3ae"]
_END = "rollout_visual/end/"
_RARE = "all others"


@dataclass(frozen=True)
class Series:
    """One line of a panel; ``held_out`` ones are drawn with markers."""

    name: str
    steps: list[int]
    values: list[float]
    colour: str
    held_out: bool = False


@dataclass(frozen=True)
class Panel:
    """One small plot.

    Attributes:
        look: what to look for, one or two sentences.
        series: never empty.
        share: whether values are shares, written in percent.
        limit: where an alarm is raised, drawn as a dotted line; None without one.
        stacked: whether the series are shares of a whole.
        from_zero: whether the scale begins at zero, so that noise around a level does not look like a trend.
    """

    title: str
    look: str
    series: list[Series]
    share: bool = False
    limit: float | None = None
    stacked: bool = False
    from_zero: bool = True


def panels(run: Run) -> list[Panel]:
    """The panels for which this run has logged anything, in the order in which to read them."""
    drawn = [
        *(_held_out_panel(run, *spec) for spec in HELD_OUT),
        *(_training_panel(run, *spec) for spec in LOOKING),
        _end_reasons(run),
        *(_kinds(run, *spec) for spec in KINDS),
        *(_training_panel(run, *spec) for spec in EXPLORING),
        *(_training_panel(run, *spec) for spec in LEARNING),
    ]
    return [panel for panel in drawn if panel.series]


def _held_out_panel(run: Run, title: str, metrics: list[str], held_out: str, look: str) -> Panel:
    sources = run.validation(held_out)
    colours = [VERMILION, GREEN, PURPLE, GREY]
    lines = _series(run, [("training", metric, BLUE) for metric in metrics])[:1]
    for number, (source, name) in enumerate(sources.items()):
        label = "held out" if len(sources) == 1 else f"held out, {source}"
        lines.append(Series(label, *run.series(name), colours[number % len(colours)], held_out=True))
    return Panel(title, look, lines, share=held_out == "acc", from_zero=held_out == "acc")


def _training_panel(
    run: Run, title: str, lines: list[tuple[str, str, str]], share: bool, limit: float | None, look: str
) -> Panel:
    return Panel(title, look, _series(run, lines), share, limit)


def _kinds(run: Run, title: str, prefix: str, look: str) -> Panel:
    steps = run.series("rollout_visual/turns")[0]
    found = {
        name.removeprefix(prefix): [run.metrics[step].get(name, 0.0) for step in steps]
        for name in run.metric_names
        if name.startswith(prefix)
    }
    common = sorted(found, key=lambda kind: -sum(found[kind]))[: len(_LINES)]
    lines = [Series(kind, steps, found[kind], colour) for kind, colour in zip(common, _LINES, strict=False)]
    return Panel(title, look, lines, share=True)


def _end_reasons(run: Run) -> Panel:
    names = [name for name in run.metric_names if name.startswith(_END)]
    steps = sorted({step for name in names for step in run.series(name)[0]})
    shares = {name.removeprefix(_END): [run.metrics[step].get(name, 0.0) for step in steps] for name in names}
    # The most common reason lies at the bottom; what does not fit the palette is put together.
    ranked = sorted(shares, key=lambda name: -sum(shares[name]))
    kept, rare = ranked[: len(_STACK) - 1], ranked[len(_STACK) - 1 :]
    rows = [(name, shares[name]) for name in kept if any(shares[name])]
    if rare:
        rows.append((_RARE, [sum(column) for column in zip(*(shares[name] for name in rare), strict=True)]))
    lines = [Series(name, steps, values, colour) for (name, values), colour in zip(rows, _STACK, strict=False)]
    look = (
        "Why rollouts ended. Anything but “answer” that grows is a rollout cut short: raise the limit that it "
        "names, or read those trajectories."
    )
    return Panel("End reasons", look, lines, share=True, stacked=True)


def _series(run: Run, lines: list[tuple[str, str, str]]) -> list[Series]:
    found = [Series(name, *run.series(metric), colour) for name, metric, colour in lines]
    return [series for series in found if series.steps]
