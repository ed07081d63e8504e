# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Finds and removes the tools that a data row declares itself; the run declares its own.

A declaration is a block ``<tools>...</tools>`` that names a tool, with the heading before it (``# Tools``), or the
sentence before it that holds the tags, and the forms and examples of calls after it, as in the prompts of Qwen, Hermes
and DeepEyes. Tags without such a block are plain text and stay.
"""

from __future__ import annotations

import re
from typing import Any

from verl_mapo.rollout.row_messages import text_of

_BLOCK = re.compile(r"<tools>((?:(?!</?tools>).)*)</tools>", re.DOTALL)
_NAME = re.compile(r'"name"\s*:\s*"([^"]+)"')
_HEADING = re.compile(r"^#+ *tools?\b.*$", re.IGNORECASE | re.MULTILINE)
_SENTENCE = re.compile(r"[^\n]*<tools></tools>[^\n]*\n\s*\Z")
_EXAMPLE = re.compile(r"([^?]{0,400}?)<tool_call>\s*\{(?:(?!</?tool_call>).){0,800}\}\s*</tool_call>", re.DOTALL)
_QUESTION = re.compile(r"\bquestion\b|<image>", re.IGNORECASE)


def declared_tools(messages: list[dict[str, Any]]) -> list[str]:
    """The names of the tools that the messages of a data row declare, in order and without repetition."""
    blocks = [block for message in messages for block in _BLOCK.findall(text_of(message))]
    return list(dict.fromkeys(name for block in blocks for name in _NAME.findall(block)))


def without_declarations(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages of a data row without declarations of tools; the given ones are not changed."""

    def kept(content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
        if isinstance(content, str):
            return _without_declaration(content)
        return [{**part, "text": kept(part["text"])} if part.get("type") == "text" else part for part in content]

    return [{**message, "content": kept(message["content"])} for message in messages]


def _without_declaration(text: str) -> str:
    blocks = [block for block in _BLOCK.finditer(text) if _NAME.search(block.group(1))]
    if not blocks:
        return text
    begin, end = blocks[0].start(), blocks[-1].end()
    headings = [heading.start() for heading in _HEADING.finditer(text, 0, begin)]
    sentence = _SENTENCE.search(text[max(begin - 400, 0) : begin])
    if headings:
        begin = headings[-1]
    elif sentence:
        begin -= len(sentence.group())
    while (example := _EXAMPLE.match(text, end)) and not _QUESTION.search(example.group(1)):
        end = example.end()
    return f"{text[:begin].rstrip()}\n\n{text[end:].lstrip()}".strip()
