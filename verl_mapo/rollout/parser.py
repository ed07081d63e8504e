# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Parses the text of one assistant turn: a call, a call in the wrong form, or no call. No text raises an exception."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from verl_mapo.rollout.statuses import TurnStatus

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_DESCRIPTION = re.compile(r"<description>\s*(.*?)\s*</description>", re.DOTALL)


@dataclass(frozen=True)
class ToolCall:
    """A call in the correct form. Whether the tool exists and accepts these arguments is checked later.

    Attributes:
        name: the name of the tool.
        arguments: decoded JSON of any type.
    """

    name: str
    arguments: Any


@dataclass(frozen=True)
class BadCall:
    """A call in the wrong form.

    Attributes:
        status: the status of its turn.
        sentence: the reason, written for the model.
    """

    status: TurnStatus
    sentence: str


_FORM = 'Write one call as <tool_call>{"name": ..., "arguments": {...}}</tool_call>.'


def parse_call(text: str) -> ToolCall | BadCall | None:
    """The tool call in the text of one assistant turn; None when there is none.

    Args:
        text: decoded, special tokens removed; ``<tool_call>`` is not a special token in the Qwen families.
    """
    calls = text.count(OPEN)
    if calls == 0:
        return None
    if calls > 1:
        return BadCall(TurnStatus.TWO_CALLS, "One call at a time: only one tool call may be made in a turn.")
    body, closed, _ = text.split(OPEN, 1)[1].partition(CLOSE)
    if not closed:
        return BadCall(TurnStatus.NO_JSON, f"The tool call is not closed. {_FORM}")
    try:
        call = json.loads(body)
    except (ValueError, RecursionError):
        return BadCall(TurnStatus.NO_JSON, f"The tool call is not valid JSON. {_FORM}")
    if not isinstance(call, dict) or not isinstance(call.get("name"), str) or "arguments" not in call:
        return BadCall(TurnStatus.NO_JSON, f"The tool call needs a name and arguments. {_FORM}")
    return ToolCall(call["name"], call["arguments"])


def parse_description(text: str) -> str | None:
    """The text between ``<description>`` tags, which describes the last image shown; None when there is none."""
    found = _DESCRIPTION.search(text)
    return found.group(1) if found and found.group(1) else None
