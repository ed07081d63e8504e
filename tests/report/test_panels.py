# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from verl_mapo.report.panels import ALARMS, HELD_OUT, KINDS, LEARNING, ROLLOUTS
from verl_mapo.rollout.statuses import EndReason


def test_every_panel_has_a_caption_of_whole_sentences():
    panels = (*HELD_OUT, *ROLLOUTS, *KINDS, *LEARNING)
    assert all(panel.look_for[0].isupper() and panel.look_for.endswith(".") for panel in panels)
    assert len({panel.title for panel in panels}) == len(panels)


def test_every_limit_of_a_panel_is_the_limit_of_an_alarm():
    limits = {alarm.metric: alarm.limit for alarm in ALARMS}
    drawn = {curve.metric: panel.limit for panel in ROLLOUTS for curve in panel.curves if panel.limit is not None}
    assert drawn.items() <= limits.items()


def test_every_alarm_formats_to_a_whole_sentence():
    assert all(alarm.sentence.format(first=0.5, last=0.1).endswith(".") for alarm in ALARMS)


def test_caption_of_end_reasons_names_the_usual_one():
    assert f"\u201c{EndReason.ANSWER}\u201d" in KINDS[0].look_for
