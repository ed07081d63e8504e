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
"""What a report draws of a run's metrics: panels of curves, and alarms. Declarations only; this module imports nothing.

A method declares its panels and alarms beside its metrics (:mod:`verl_mapo.training.method`); those of every run are in
:mod:`verl_mapo.report.panels`.
"""

from __future__ import annotations

from dataclasses import dataclass

BLUE, VERMILION, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#5f6b7a"
"""Colours of curves, after Okabe and Ito; they can be told apart by all common forms of colour vision."""


@dataclass(frozen=True)
class Curve:
    """One metric of a panel.

    Attributes:
        name: what the legend calls it.
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
        title: what is drawn.
        curves: the metrics; those that a run has not logged are left out.
        look_for: what a reader should look for, one or two sentences.
        share: whether the values are shares, written in percent.
        limit: value at which an alarm is raised, drawn as a dotted line; None without one.
    """

    title: str
    curves: tuple[Curve, ...]
    look_for: str
    share: bool = False
    limit: float | None = None


@dataclass(frozen=True)
class Alarm:
    """A metric that is watched, and the sentence shown when its last values cross a limit.

    Attributes:
        metric: its name in the metrics.
        watched: what is watched, in a few words.
        limit: the alarm is raised when the mean of the last values is above this value; or, with ``falls``, below this
            share of the mean of the first values.
        sentence: what is wrong and what to do, formatted with ``first`` and ``last``, those two means.
        falls: whether a fall is what raises the alarm.
    """

    metric: str
    watched: str
    limit: float
    sentence: str
    falls: bool = False
