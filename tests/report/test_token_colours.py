# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.report.load import TokenCredit
from verl_mapo.report.token_colours import FOCUS, NEGATIVE, POSITIVE, coloured_tokens, diverging, sequential


def lightness(colour):
    """Relative luminance of ``#rrggbb``, 0 to 1 (WCAG 2)."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_scales_end_at_the_full_colours():
    assert sequential(0.7, 0.5, 0.7) == FOCUS.lower()
    assert diverging(-2.0, 2.0) == NEGATIVE.lower() and diverging(2.0, 2.0) == POSITIVE.lower()
    assert diverging(0.0, 2.0) == "#ffffff" and sequential(0.5, 0.5, 0.7) != "#ffffff"


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted))
def test_larger_value_is_never_lighter(values):
    low, high = values
    assert lightness(sequential(low, 0, 1)) >= lightness(sequential(high, 0, 1))
    for sign in (-1, 1):
        assert lightness(diverging(sign * low, 1)) >= lightness(diverging(sign * high, 1))


@pytest.mark.parametrize("colour", [FOCUS, NEGATIVE, POSITIVE])
def test_text_on_the_full_colours_has_the_contrast_of_wcag(colour):
    assert (lightness(colour) + 0.05) / (lightness("#1c2430") + 0.05) >= 4.5


def test_equal_values_are_not_divided_by_zero(make_credit):
    by_focus, by_advantage = coloured_tokens(TokenCredit(**make_credit(focus=[0.5] * 4, advantage=[0.0] * 4)))
    assert by_focus.without_colour == "" and by_focus.scale[0] == by_focus.scale[1]
    assert {token.colour for stretch in by_advantage.stretches for token in stretch} == {"#ffffff"}


def test_both_colourings_have_the_same_tokens_in_the_same_stretches(make_credit):
    by_focus, by_advantage = coloured_tokens(TokenCredit(**make_credit()))
    for coloured in (by_focus, by_advantage):
        assert [[token.text for token in stretch] for stretch in coloured.stretches] == [["It", " is"], [" <b>", "A"]]
    first, second, _, last = [token for stretch in by_focus.stretches for token in stretch]
    assert (first.colour, first.numbers) == ("", "no focus, advantage \u22121.0000")
    assert second.colour == by_focus.scale[0][1] and last.numbers == "focus 0.5500, advantage +0.2500"
    assert [number for number, _ in by_focus.scale] == ["0.5000", "0.6000"] and by_focus.without_colour
    assert [number for number, _ in by_advantage.scale] == ["\u22121", "0", "+1"] and not by_advantage.without_colour


def test_middle_of_a_long_rollout_is_left_out(make_credit):
    size = 1000
    credit = make_credit(tokens=["x"] * size, focus=[0.5] * size, advantage=[1.0] * size, stretches=[200, 500, 300])
    for coloured in coloured_tokens(TokenCredit(**credit)):
        assert [len(stretch) for stretch in coloured.stretches] == [200, 101, 300]
        note = coloured.stretches[1][-1]
        assert note.text.strip() == "\u2026 (400 tokens left out) \u2026" and not note.colour
