# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Finds the tool calls and descriptions in the text of an assistant turn. No text raises an exception.

Calls are read after thinking has ended: what stands between ``<think>`` and ``</think>`` is a draft. Other spellings
than the one that the system message shows are read by :mod:`verl_mapo.rollout.dialects`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from verl_mapo.rollout import dialects
from verl_mapo.rollout.plain_text import well_formed
from verl_mapo.rollout.statuses import TurnStatus

OPEN, CLOSE = "<tool_call>", "</tool_call>"
THINK, END_OF_THINKING = "<think>", "</think>"
_DESCRIPTION = re.compile(r"<description>((?:(?!<description>).)*?)</description>", re.DOTALL)
_THINK_TAGS = re.compile("</?think>")
_SPACE = re.compile(r"\s*")
_CLOSE = re.compile(r"\s*</tool_call>")
_MOST_TAGS = 64
"""Opening tags of a turn after which no further ones are looked at."""


@dataclass(frozen=True)
class ToolCall:
    """A call. Whether the tool exists and accepts these arguments is checked later.

    Attributes:
        name: the name of the tool.
        arguments: decoded JSON of any type.
        place: half-open positions of the call in the text of its turn, tags included.
        lenient: whether it was spelled in another way than the system message shows.
    """

    name: str
    arguments: Any
    place: tuple[int, int] = (0, 0)
    lenient: bool = False


@dataclass(frozen=True)
class BadCall:
    """A call in the wrong form.

    Attributes:
        status: the status of its turn.
        sentence: the reason, written for the model.
        place: half-open positions of the call in the text of its turn.
    """

    status: TurnStatus
    sentence: str
    place: tuple[int, int] = (0, 0)


_FORM = 'Write one call as <tool_call>{"name": ..., "arguments": {...}}</tool_call>.'


def read_calls(text: str, thinking: bool = False, lenient: bool = True) -> list[ToolCall | BadCall]:
    """The tool calls in the text of one assistant turn, in order.

    Args:
        text: decoded, special tokens removed; ``<tool_call>`` is not a special token in the Qwen families.
        thinking: whether the chat template has opened ``<think>`` before the turn, as those of thinking models do.
        lenient: whether other spellings are read where their meaning is certain.
    """
    thoughts, ended = _thoughts(text, thinking)
    spoken = _blanked(text, thoughts)
    calls, place = [], spoken.find(OPEN)
    while 0 <= place and len(calls) < _MOST_TAGS:
        calls.append(_call_at(text, place, lenient))
        place = spoken.find(OPEN, calls[-1].place[1])
    if not lenient:
        return calls
    if calls:
        return [call for call in calls if not _names_the_tag(text, call)] or calls
    call = _call_without_opening_tag(spoken) if ended else _call_at_the_end_of_a_thought(text)
    return [call] if call else []


def too_many_calls(calls: list[ToolCall | BadCall], most: int) -> BadCall:
    """The refusal of a turn with more calls than ``visual_tool.calls_per_turn`` allows."""
    limit = "One call at a time: only one tool call" if most == 1 else f"Too many calls: at most {most} tool calls"
    return BadCall(
        TurnStatus.TOO_MANY_CALLS, f"{limit} may be made in a turn.", (calls[0].place[0], calls[-1].place[1])
    )


def read_descriptions(text: str) -> list[str]:
    """The texts between ``<description>`` tags, in order, each of which describes an image; empty ones are left out."""
    return [found for found in (text.strip() for text in _DESCRIPTION.findall(text)) if found]


def _thoughts(text: str, thinking: bool) -> tuple[list[tuple[int, int]], bool]:
    """The half-open positions of the thoughts, tags included, and whether the last of them has ended.

    An end without a beginning of its own belongs to the thought before it, or to a thought that the template opened.
    """
    thoughts: list[tuple[int, int]] = [(0, 0)] if thinking else []
    ended = not thinking
    for tag in _THINK_TAGS.finditer(text):
        if tag.group() == END_OF_THINKING:
            thoughts = thoughts or [(0, 0)]
            thoughts[-1] = (thoughts[-1][0], tag.end())
            ended = True
        elif ended:
            thoughts.append((tag.start(), tag.end()))
            ended = False
    if not ended:
        thoughts[-1] = (thoughts[-1][0], len(text))
    return thoughts, ended


def _blanked(text: str, thoughts: list[tuple[int, int]]) -> str:
    """A text in which every character of a thought is a space."""
    parts, place = [], 0
    for begin, end in thoughts:
        parts += [text[place:begin], " " * (end - begin)]
        place = end
    return "".join([*parts, text[place:]])


def _call_at(text: str, place: int, lenient: bool) -> ToolCall | BadCall:
    """The call whose opening tag is at ``place``."""
    begin = place + len(OPEN)
    found = _json_call(text, begin)
    if found is not None:
        return replace(found, place=(place, found.place[1]))
    close, following = text.find(CLOSE, begin), text.find(OPEN, begin)
    closed = 0 <= close and not 0 <= following < close
    end = close if closed else following if following >= 0 else len(text)
    where = (place, end + len(CLOSE) if closed else end)
    call = dialects.read(text[begin:end], closed) if lenient else None
    if call is not None:
        return ToolCall(*call, where, lenient=True)
    if not closed:
        return BadCall(TurnStatus.NO_JSON, f"The tool call is not closed. {_FORM}", where)
    try:
        json.loads(text[begin:end])
    except (ValueError, RecursionError):
        return BadCall(TurnStatus.NO_JSON, f"The tool call is not valid JSON. {_FORM}", where)
    return BadCall(TurnStatus.NO_JSON, f"The tool call needs a name and arguments. {_FORM}", where)


def _json_call(text: str, begin: int) -> ToolCall | None:
    """The call in the form that the system message shows; tags may stand inside its strings."""
    try:
        call, end = json.JSONDecoder().raw_decode(text, _SPACE.match(text, begin).end())
        call = well_formed(call)
    except (ValueError, RecursionError):
        return None
    close = _CLOSE.match(text, end)
    if close is None or not isinstance(call, dict) or not isinstance(call.get("name"), str) or "arguments" not in call:
        return None
    return ToolCall(call["name"], call["arguments"], (begin, close.end()))


def _names_the_tag(text: str, call: ToolCall | BadCall) -> bool:
    """Whether a text only mentions the opening tag, as in a sentence before the call."""
    begin, end = call.place
    body = text[begin + len(OPEN) : end]
    return isinstance(call, BadCall) and not body.endswith(CLOSE) and not body.lstrip().startswith(("{", "[", "`", "<"))


def _call_without_opening_tag(spoken: str) -> ToolCall | None:
    """The complete call at the end of a text that lacks the opening tag."""
    found = dialects.read_tail(spoken.rstrip().removesuffix(CLOSE))
    if found is None:
        return None
    (name, arguments), begin = found
    return ToolCall(name, arguments, (begin, len(spoken)), lenient=True)


def _call_at_the_end_of_a_thought(text: str) -> ToolCall | BadCall | None:
    """The call with which a turn ends whose thought was not closed before it."""
    place = text.rfind(OPEN)
    if place < 0 or not text.rstrip().endswith(CLOSE):
        return None
    call = _call_at(text, place, lenient=True)
    return replace(call, lenient=True) if isinstance(call, ToolCall) else call
