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
