# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The tokens of a rollout with background colours for the template: once by focus, once by advantage."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from verl_mapo.charts import ORANGE, PINK, SKY_BLUE
from verl_mapo.report.load import TokenCredit

FOCUS, NEGATIVE, POSITIVE = PINK, ORANGE, SKY_BLUE
"""Colours of the highest focus, and of the largest negative and positive advantage; light enough for dark text."""

_PALEST = 0.12
"""Opacity of the colour of the lowest focus. A token without a focus score has no colour."""

_HEAD, _TAIL = 300, 300
"""Tokens of a long rollout that are kept at its start and at its end."""


@dataclass(frozen=True)
class ColouredToken:
    """One token.

    Attributes:
        text: its text.
        colour: ``#rrggbb``; empty for a token without a colour.
        numbers: its focus and its advantage, as text.
    """

    text: str
    colour: str
    numbers: str


@dataclass(frozen=True)
class ColouredTokens:
    """The tokens of a rollout, coloured by one quantity.

    Attributes:
        title: the quantity.
        scale: the colour scale from left to right: numbers as they are printed, with their colours.
        without_colour: why some tokens have no colour; empty if every token has one.
        stretches: the tokens, divided where the model was shown an observation.
    """

    title: str
    scale: list[tuple[str, str]]
    without_colour: str
    stretches: list[list[ColouredToken]]


def coloured_tokens(credit: TokenCredit) -> list[ColouredTokens]:
    """A rollout's tokens by focus and by advantage; at least one token has a focus score."""
    return [_by_focus(credit), _by_advantage(credit)]


def _by_focus(credit: TokenCredit) -> ColouredTokens:
    known = [score for score in credit.focus if score is not None]
    lowest, highest = min(known), max(known)
    colours = ["" if score is None else sequential(score, lowest, highest) for score in credit.focus]
    scale = [(f"{score:.4f}", sequential(score, lowest, highest)) for score in (lowest, highest)]
    without_colour = "" if len(known) == len(colours) else "no colour: before the first image"
    return ColouredTokens("By focus", scale, without_colour, _stretches(credit, colours))


def _by_advantage(credit: TokenCredit) -> ColouredTokens:
    largest = max(map(abs, credit.advantage))
    colours = [diverging(value, largest) for value in credit.advantage]
    scale = [(_signed(value, ".3g"), diverging(value, largest)) for value in (-largest, 0.0, largest)]
    return ColouredTokens("By advantage, after visual credit", scale, "", _stretches(credit, colours))


def sequential(value: float, lowest: float, highest: float) -> str:
    """``#rrggbb``, paler for lower values; the palest colour where ``lowest`` equals ``highest``.

    Args:
        value: between the two others.
        lowest: the value with the palest colour.
        highest: the value with the full colour.
    """
    extent = highest - lowest
    return _on_white(FOCUS, _PALEST + (1 - _PALEST) * ((value - lowest) / extent if extent else 0.0))


def diverging(value: float, largest: float) -> str:
    """``#rrggbb``: white at 0, the full colour of the value's sign at plus and minus ``largest``."""
    return _on_white(NEGATIVE if value < 0 else POSITIVE, abs(value) / largest if largest else 0.0)


def _on_white(colour: str, opacity: float) -> str:
    channels = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(255 + opacity * (channel - 255)):02x}" for channel in channels)


def _stretches(credit: TokenCredit, colours: list[str]) -> list[list[ColouredToken]]:
    known = zip(credit.tokens, colours, credit.focus, credit.advantage, strict=True)
    tokens: list[ColouredToken | None] = [
        ColouredToken(text, colour, f"{_focus(score)}, advantage {_signed(advantage, '.4f')}")
        for text, colour, score, advantage in known
    ]
    middle = slice(_HEAD, len(tokens) - _TAIL)
    if left_out := tokens[middle]:
        note = ColouredToken(f" \u2026 ({len(left_out)} tokens left out) \u2026 ", "", "")
        tokens[middle] = [note, *[None] * (len(left_out) - 1)]
    remaining = iter(tokens)
    return [[token for token in islice(remaining, size) if token] for size in credit.stretches]


def _focus(score: float | None) -> str:
    return "no focus" if score is None else f"focus {score:.4f}"


def _signed(value: float, digits: str) -> str:
    return f"{value:+{digits}}".replace("-", "\u2212") if value else "0"
