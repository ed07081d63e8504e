# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Finds the tool calls and descriptions in the text of an assistant turn. No text raises an exception.

Calls are read after thinking has ended: what stands between ``<think>`` and ``</think>`` is a draft. Other spellings
than the one that the system message shows are read by :mod:`verl_mapo.rollout.dialects`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from verl_mapo.rollout import dialects
from verl_mapo.rollout.plain_text import well_formed
from verl_mapo.rollout.statuses import TurnStatus

OPEN, CLOSE = "<tool_call>", "</tool_call>"
THINK, END_OF_THINKING = "<think>", "</think>"
_DESCRIPTION = re.compile(r"<description>((?:(?!<description>).)*?)</description>", re.DOTALL)
_THINK_TAGS = re.compile("</?think>")
_TAGS = re.compile("<think>|<tool_call>")
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


def read_calls(
    text: str, thinking: bool = False, lenient: bool = True, known: Collection[str] | None = None
) -> list[ToolCall | BadCall]:
    """The tool calls in the text of one assistant turn, in order.

    Args:
        text: decoded, special tokens removed; ``<tool_call>`` is not a special token in the Qwen families.
        thinking: whether the chat template has opened ``<think>`` before the turn, as those of thinking models do.
        lenient: whether other spellings are read where their meaning is certain.
        known: names of tools that a call without an opening tag may have, because an answer may be JSON, too; None for
            any name.
    """
    calls: list[ToolCall | BadCall] = []
    place = _end_of_thought(text, 0) if thinking or _begins_in_a_thought(text) else 0
    while place is not None and len(calls) < _MOST_TAGS and (tag := _TAGS.search(text, place)):
        if tag.group() == OPEN:
            calls.append(_call_at(text, tag.start(), lenient))
            place = calls[-1].place[1]
        else:
            place = _end_of_thought(text, tag.end())
    if not lenient:
        return calls
    if calls:
        return [call for call in calls if not _names_the_tag(text, call)] or calls
    if place is None:
        return _calls_at_the_end(text)
    return _calls_without_opening_tag(text, place, known)


def ends_with_call(text: str, thinking: bool = False) -> bool:
    """Whether the text of a turn that goes on ends with the closing tag of a call, and not with one in a thought.

    Args:
        text, thinking: see :func:`read_calls`.
    """
    calls = read_calls(text, thinking, lenient=False)
    return bool(calls) and text.endswith(CLOSE) and calls[-1].place[1] == len(text)


def too_many_calls(calls: list[ToolCall | BadCall], most: int) -> BadCall:
    """The refusal of a turn with more calls than ``visual_tool.calls_per_turn`` allows."""
    limit = "One call at a time: only one tool call" if most == 1 else f"Too many calls: at most {most} tool calls"
    return BadCall(
        TurnStatus.TOO_MANY_CALLS, f"{limit} may be made in a turn.", (calls[0].place[0], calls[-1].place[1])
    )


def own_part(text: str, opened: bool) -> str:
    """The part of a turn that the model writes itself, where one row serves several chat templates.

    The templates of thinking models write ``<think>`` at the start of a turn, and those of other models do not.

    Args:
        text: the text of a turn, with or without the opening tag of its thought.
        opened: whether the chat template has written the tag.

    Returns:
        The text without the tag and the line break after it if the template has written them. Otherwise it has the tag
        if it closes a thought that it does not open.
    """
    begins = text.startswith(THINK)
    if opened:
        return text.removeprefix(THINK).removeprefix("\n") if begins else text
    first_end = text.find(END_OF_THINKING)
    return f"{THINK}\n{text}" if first_end >= 0 and THINK not in text[:first_end] else text


def read_descriptions(text: str) -> list[str]:
    """The texts between ``<description>`` tags, in order, each of which describes an image; empty ones are left out."""
    return [found for found in (text.strip() for text in _DESCRIPTION.findall(text)) if found]


def _begins_in_a_thought(text: str) -> bool:
    """Whether a thought ends in a text before one begins."""
    first = _THINK_TAGS.search(text)
    return first is not None and first.group() == END_OF_THINKING


def _end_of_thought(text: str, place: int) -> int | None:
    """The position after the thought that is open at ``place``; None if it does not end.

    A thought that opens others ends with the last of their ends that it has; tags may only be mentioned in it.
    """
    depth, end = 1, None
    for tag in _THINK_TAGS.finditer(text, place):
        if tag.group() == THINK:
            depth += 1
            continue
        depth, end = depth - 1, tag.end()
        if depth == 0:
            break
    return end


def _call_at(text: str, place: int, lenient: bool) -> ToolCall | BadCall:
    """The call whose opening tag is at ``place``."""
    found = _json_call(text, place)
    if found is not None:
        return found
    begin = place + len(OPEN)
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


def _json_call(text: str, place: int) -> ToolCall | None:
    """The call at ``place`` in the form that the system message shows; tags may stand inside its strings."""
    try:
        call, end = json.JSONDecoder().raw_decode(text, _SPACE.match(text, place + len(OPEN)).end())
        call = well_formed(call)
    except (ValueError, RecursionError):
        return None
    close = _CLOSE.match(text, end)
    if close is None or not isinstance(call, dict) or not isinstance(call.get("name"), str) or "arguments" not in call:
        return None
    return ToolCall(call["name"], call["arguments"], (place, close.end()))


def _names_the_tag(text: str, call: ToolCall | BadCall) -> bool:
    """Whether a text only mentions the opening tag, as in a sentence before the call."""
    begin, end = call.place
    body = text[begin + len(OPEN) : end]
    return isinstance(call, BadCall) and not body.endswith(CLOSE) and not body.lstrip().startswith(("{", "[", "`", "<"))


def _calls_without_opening_tag(text: str, place: int, known: Collection[str] | None) -> list[ToolCall | BadCall]:
    """The complete calls at the end of a text that lack the opening tag.

    Args:
        text: the text of the turn.
        place: where the last thought ends.
        known: see :func:`read_calls`.
    """
    calls: list[ToolCall | BadCall] = []
    end = len(text)
    while len(calls) < _MOST_TAGS:
        found = dialects.read_tail(text[place:end].rstrip().removesuffix(CLOSE))
        if found is None or (known is not None and found[0][0] not in known):
            break
        (name, arguments), begin = found
        calls.insert(0, ToolCall(name, arguments, (place + begin, end), lenient=True))
        end = place + begin
    return calls


def _calls_at_the_end(text: str) -> list[ToolCall | BadCall]:
    """The calls with which a turn ends whose thought was not closed before them."""
    end, calls = len(text.rstrip()), []
    while text.endswith(CLOSE, 0, end) and len(calls) < _MOST_TAGS:
        place = text.rfind(OPEN, 0, end)
        if place < 0:
            break
        call = _call_at(text, place, lenient=True)
        calls.insert(0, replace(call, lenient=True) if isinstance(call, ToolCall) else call)
        end = len(text[:place].rstrip())
    return calls
