# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Declarations of the panels and the alarms that the report makes of a run's metrics. Imports nothing of the package.

A method declares its panels and alarms beside its metrics (:mod:`verl_mapo.training.method`); those that do not depend
on a method are in :mod:`verl_mapo.report.panels`.
"""

from __future__ import annotations

from dataclasses import dataclass

BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
SKY_BLUE, PINK, PURPLE, GREY, LIGHT_GREY = "#56B4E9", "#CC79A7", "#AA4499", "#5f6b7a", "#9aa3ae"
"""All colours of curves, boxes and tokens, after Okabe and Ito: people with any common form of colour vision can tell
them apart."""


@dataclass(frozen=True)
class Curve:
    """One metric of a panel.

    Attributes:
        name: its name in the legend.
        metric: its name in the metrics.
        colour: ``#rrggbb``.
    """

    name: str
    metric: str
    colour: str = BLUE


@dataclass(frozen=True)
class Panel:
    """One small plot.

    Attributes:
        title: the heading.
        curves: the metrics; those that a run has not logged are left out.
        look_for: the caption: a few sentences that say what a reader should look for.
        share: whether the values are shares, written in percent.
        limit: the value at which an alarm is raised, drawn as a dotted line; None without an alarm.
    """

    title: str
    curves: tuple[Curve, ...]
    look_for: str
    share: bool = False
    limit: float | None = None


@dataclass(frozen=True)
class Alarm:
    """A metric that the report watches, and the sentence that it shows when the last values cross a limit.

    Attributes:
        metric: its name in the metrics.
        watched: the name of what is watched, in a few words.
        limit: the alarm is raised when the mean of the last values is above this value; or, with ``falls``, below this
            share of the mean of the first values.
        sentence: what is wrong and what to do; a format string with the fields ``first`` and ``last``, those two means.
        falls: whether the alarm is raised by a fall instead of by a rise.
        whole_run: whether all values of the run count instead of the last ones; ``last`` is then their mean.
    """

    metric: str
    watched: str
    limit: float
    sentence: str
    falls: bool = False
    whole_run: bool = False
