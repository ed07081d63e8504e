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

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.report.token_colours import ABOVE, BELOW, FOCUS, diverging, sequential, tints


def lightness(colour):
    """Relative luminance of ``#rrggbb``, 0 to 1 (WCAG 2)."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_the_ramps_end_where_the_legend_says():
    assert sequential(0.7, 0.5, 0.7) == FOCUS.lower()
    assert diverging(-2.0, 2.0) == BELOW.lower() and diverging(2.0, 2.0) == ABOVE.lower()
    assert diverging(0.0, 2.0) == "#ffffff" and sequential(0.5, 0.5, 0.7) != "#ffffff"


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted))
def test_more_is_never_lighter(values):
    low, high = values
    assert lightness(sequential(low, 0, 1)) >= lightness(sequential(high, 0, 1))
    for sign in (-1, 1):
        assert lightness(diverging(sign * low, 1)) >= lightness(diverging(sign * high, 1))


@pytest.mark.parametrize("colour", [FOCUS, BELOW, ABOVE])
def test_text_stays_legible_on_the_strongest_tint(colour):
    assert (lightness(colour) + 0.05) / (lightness("#1c2430") + 0.05) >= 4.5


def test_where_all_are_equal_nothing_is_divided_by_zero(make_credit):
    by_focus, by_advantage = tints(make_credit(focus=[0.5] * 4, advantage=[0.0] * 4))
    assert by_focus.missing == "" and by_focus.marks[0] == by_focus.marks[1]
    assert {token.colour for stretch in by_advantage.stretches for token in stretch} == {"#ffffff"}


def test_both_measures_tint_the_same_tokens_in_the_same_stretches(make_credit):
    by_focus, by_advantage = tints(make_credit())
    for tint in (by_focus, by_advantage):
        assert [[token.text for token in stretch] for stretch in tint.stretches] == [["It", " is"], [" <b>", "A"]]
    first, second, _, last = [token for stretch in by_focus.stretches for token in stretch]
    assert (first.colour, first.numbers) == ("", "no focus, advantage \u22121.0000")
    assert second.colour == by_focus.marks[0][1] and last.numbers == "focus 0.5500, advantage +0.2500"
    assert [number for number, _ in by_focus.marks] == ["0.5000", "0.6000"] and by_focus.missing
    assert [number for number, _ in by_advantage.marks] == ["\u22121", "0", "+1"] and not by_advantage.missing


def test_the_middle_of_a_long_rollout_is_left_out(make_credit):
    size = 1000
    credit = make_credit(tokens=["x"] * size, focus=[0.5] * size, advantage=[1.0] * size, stretches=[200, 500, 300])
    for tint in tints(credit):
        assert [len(stretch) for stretch in tint.stretches] == [200, 101, 300]
        note = tint.stretches[1][-1]
        assert note.text.strip() == "\u2026 (400 tokens left out) \u2026" and not note.colour
