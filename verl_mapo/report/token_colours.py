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
"""The tokens of a rollout as the template tints them: by where the model looked, and by what that was worth."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

FOCUS, BELOW, ABOVE = "#CC79A7", "#E69F00", "#56B4E9"
"""Strongest tints of focus, of a negative and of a positive advantage (Okabe and Ito's, light enough for dark text)."""

_PALEST = 0.12
"""Share of the strongest tint in that of the lowest focus: a token without one has none."""

_HEAD, _TAIL = 300, 300
"""Tokens of a long rollout that are kept at its start and at its end."""


@dataclass(frozen=True)
class Token:
    """A token; ``colour`` is empty where it is not tinted, ``numbers`` what is known of it."""

    text: str
    colour: str
    numbers: str


@dataclass(frozen=True)
class Tint:
    """The tokens of a rollout, tinted by one measure.

    Attributes:
        title: what they are tinted by.
        marks: the ramp, from left to right: numbers as they are printed, with their colours.
        missing: what the ramp does not say of untinted tokens; empty where there are none.
        stretches: the tokens that the model wrote at a time, between observations.
    """

    title: str
    marks: list[tuple[str, str]]
    missing: str
    stretches: list[list[Token]]


def tints(credit: dict[str, Any]) -> list[Tint]:
    """A rollout's tokens by focus and by advantage.

    Args:
        credit: as :func:`verl_mapo.training.token_records.describe_tokens` gives it, with the focus of some token.
    """
    return [_by_focus(credit), _by_advantage(credit)]


def _by_focus(credit: dict[str, Any]) -> Tint:
    known = [score for score in credit["focus"] if score is not None]
    lowest, highest = min(known), max(known)
    colours = ["" if score is None else sequential(score, lowest, highest) for score in credit["focus"]]
    marks = [(f"{score:.4f}", sequential(score, lowest, highest)) for score in (lowest, highest)]
    missing = "" if len(known) == len(colours) else "untinted: before the first image"
    return Tint("By focus", marks, missing, _stretches(credit, colours))


def _by_advantage(credit: dict[str, Any]) -> Tint:
    largest = max(map(abs, credit["advantage"]))
    colours = [diverging(value, largest) for value in credit["advantage"]]
    marks = [(_signed(value, ".3g"), diverging(value, largest)) for value in (-largest, 0.0, largest)]
    return Tint("By advantage, credit included", marks, "", _stretches(credit, colours))


def sequential(value: float, lowest: float, highest: float) -> str:
    """``#rrggbb``, paler the lower; the palest throughout where lowest and highest are one."""
    extent = highest - lowest
    return _tint(FOCUS, _PALEST + (1 - _PALEST) * ((value - lowest) / extent if extent else 0.0))


def diverging(value: float, largest: float) -> str:
    """``#rrggbb``: white at 0, and at plus and minus ``largest`` the strongest tint of that side."""
    return _tint(BELOW if value < 0 else ABOVE, abs(value) / largest if largest else 0.0)


def _tint(colour: str, share: float) -> str:
    """A colour on white, as opaque as ``share``."""
    channels = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(255 + share * (channel - 255)):02x}" for channel in channels)


def _stretches(credit: dict[str, Any], colours: list[str]) -> list[list[Token]]:
    known = zip(credit["tokens"], colours, credit["focus"], credit["advantage"], strict=True)
    tokens: list[Token | None] = [
        Token(text, colour, f"{_focus(score)}, advantage {_signed(advantage, '.4f')}")
        for text, colour, score, advantage in known
    ]
    middle = slice(_HEAD, len(tokens) - _TAIL)
    if left_out := tokens[middle]:
        note = Token(f" \u2026 ({len(left_out)} tokens left out) \u2026 ", "", "")
        tokens[middle] = [note, *[None] * (len(left_out) - 1)]
    remaining = iter(tokens)
    return [[token for token in islice(remaining, size) if token] for size in credit["stretches"]]


def _focus(score: float | None) -> str:
    return "no focus" if score is None else f"focus {score:.4f}"


def _signed(value: float, digits: str) -> str:
    return f"{value:+{digits}}".replace("-", "\u2212") if value else "0"
