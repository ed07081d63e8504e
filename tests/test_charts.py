# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Declarations of panels and alarms: titles are unique, and every metric has the prefix of its owner."""

from __future__ import annotations

from collections import Counter

from verl_mapo.report.panels import ALARMS, LEARNING, ROLLOUTS
from verl_mapo.training.methods import METHODS

PREFIXES = {"mapo": "mapo/", "axpo": "axpo/", "vgpo": "visual_credit/"}


def test_titles_of_panels_are_unique():
    panels = [*ROLLOUTS, *LEARNING, *(panel for method in METHODS for panel in method.panels)]
    assert max(Counter(panel.title for panel in panels).values()) == 1


def test_panels_and_alarms_of_a_method_are_about_its_own_metrics():
    for method in METHODS:
        metrics = [curve.metric for panel in method.panels for curve in panel.curves]
        metrics += [alarm.metric for alarm in method.alarms]
        assert all(metric.startswith(PREFIXES[method.name]) for metric in metrics), method.name


def test_alarm_of_a_metric_has_the_limit_that_its_panel_draws():
    panels = [*ROLLOUTS, *(panel for method in METHODS for panel in method.panels)]
    limits = {curve.metric: panel.limit for panel in panels for curve in panel.curves if panel.limit is not None}
    for alarm in (*ALARMS, *(alarm for method in METHODS for alarm in method.alarms)):
        assert limits.get(alarm.metric, alarm.limit) == alarm.limit, alarm.metric
