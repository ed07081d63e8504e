# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The panels of a run with the values to draw in them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from verl_mapo.charts import BLUE, GREEN, GREY, LIGHT_GREY, ORANGE, PINK, PURPLE, SKY_BLUE, VERMILION, Curve, Panel
from verl_mapo.report.load import RunData
from verl_mapo.report.panels import HELD_OUT, KINDS, LEARNING, ROLLOUTS, HeldOutPanel, KindsPanel

_LINE_COLOURS = [BLUE, VERMILION, GREEN, PURPLE]
_HELD_OUT_COLOURS = [VERMILION, GREEN, PURPLE, GREY]
_STACK_COLOURS = [BLUE, ORANGE, SKY_BLUE, VERMILION, GREEN, PINK, LIGHT_GREY]
_RARE = "all others"


@dataclass(frozen=True)
class Series:
    """One line of a panel, or one layer of a stacked panel.

    Attributes:
        name: its name in the legend.
        steps: training steps, ascending.
        values: one for each step.
        colour: ``#rrggbb``.
        held_out: whether it comes from validation; such a line is drawn with a dot for every value.
    """

    name: str
    steps: list[int]
    values: list[float]
    colour: str
    held_out: bool = False


@dataclass(frozen=True)
class DrawnPanel:
    """One small plot with its values.

    Attributes:
        title: the heading.
        look_for: the caption: what a reader should look for.
        series: the lines or layers; at least one.
        share: whether values are shares, written in percent.
        limit: the value at which an alarm is raised, drawn as a dotted line; None without an alarm.
        stacked: whether the series are shares that add up to 1, drawn on top of each other.
        from_zero: whether the scale begins at zero, so that noise around a level does not look like a trend.
    """

    title: str
    look_for: str
    series: list[Series]
    share: bool = False
    limit: float | None = None
    stacked: bool = False
    from_zero: bool = True


def drawn_panels(run: RunData) -> list[DrawnPanel]:
    """The panels for which the run has logged a metric, in reading order.

    Whether a method's panels are drawn depends only on the metrics, so a run without a configuration has them as well.
    """
    drawn = [
        *(_held_out(run, panel) for panel in HELD_OUT),
        *(_curves(run, panel) for panel in ROLLOUTS),
        *(_stack(run, panel) if panel.stacked else _kinds(run, panel) for panel in KINDS),
        *(_curves(run, panel) for panel in chain.from_iterable(method.panels for method in run.known_methods)),
        *(_curves(run, panel) for panel in LEARNING),
    ]
    return [panel for panel in drawn if panel.series]


def _held_out(run: RunData, panel: HeldOutPanel) -> DrawnPanel:
    training = [Curve("training", metric) for metric in panel.training]
    found = _series(run, training)[:1]
    metrics = run.validation(panel.held_out)
    for number, (data_source, metric) in enumerate(metrics.items()):
        name = "held out" if len(metrics) == 1 else f"held out, {data_source}"
        colour = _HELD_OUT_COLOURS[number % len(_HELD_OUT_COLOURS)]
        found.append(Series(name, *run.series(metric), colour, held_out=True))
    return DrawnPanel(panel.title, panel.look_for, found, panel.share, from_zero=panel.share)


def _curves(run: RunData, panel: Panel) -> DrawnPanel:
    return DrawnPanel(panel.title, panel.look_for, _series(run, panel.curves), panel.share, panel.limit)


def _kinds(run: RunData, panel: KindsPanel) -> DrawnPanel:
    """The most common kinds, one line each; there are no more lines than colours."""
    if panel.where_logged:
        names = [name for name in run.metric_names if name.startswith(panel.prefix)]
        rows = zip(names, _LINE_COLOURS, strict=False)
        lines = [Series(name.removeprefix(panel.prefix), *run.series(name), colour) for name, colour in rows]
        return DrawnPanel(panel.title, panel.look_for, lines, share=True)
    steps = run.series("rollout_visual/turns")[0]
    rows = zip(_shares(run, panel.prefix, steps), _LINE_COLOURS, strict=False)
    lines = [Series(kind, steps, values, colour) for (kind, values), colour in rows]
    return DrawnPanel(panel.title, panel.look_for, lines, share=True)


def _stack(run: RunData, panel: KindsPanel) -> DrawnPanel:
    """All kinds, the most common one at the bottom; the rarest are added up where there are more kinds than colours."""
    names = [name for name in run.metric_names if name.startswith(panel.prefix)]
    steps = sorted({step for name in names for step in run.series(name)[0]})
    rows = _shares(run, panel.prefix, steps)
    if len(rows) > len(_STACK_COLOURS):
        kept, rare = rows[: len(_STACK_COLOURS) - 1], rows[len(_STACK_COLOURS) - 1 :]
        rows = [*kept, (_RARE, [sum(column) for column in zip(*(values for _, values in rare), strict=True)])]
    layers = [Series(kind, steps, values, colour) for (kind, values), colour in zip(rows, _STACK_COLOURS, strict=False)]
    return DrawnPanel(panel.title, panel.look_for, layers, share=True, stacked=True)


def _shares(run: RunData, prefix: str, steps: list[int]) -> list[tuple[str, list[float]]]:
    """Kind and values at the steps for every metric with the prefix, the most common kind first; 0 if not logged."""
    names = [name for name in run.metric_names if name.startswith(prefix)]
    found = [(name.removeprefix(prefix), [run.metrics[step].get(name, 0.0) for step in steps]) for name in names]
    return sorted((kind for kind in found if any(kind[1])), key=lambda kind: -sum(kind[1]))


def _series(run: RunData, curves: list[Curve] | tuple[Curve, ...]) -> list[Series]:
    found = [Series(curve.name, *run.series(curve.metric), curve.colour) for curve in curves]
    return [series for series in found if series.steps]
