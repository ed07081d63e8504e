# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Reads tool calls in spellings that released models use instead of the one that the system message shows.

A spelling is read only where its meaning is certain: a code fence around the JSON, single quotes and other forms of
Python, typographic quotes, closing braces too many or (before a closing tag) too few, a comma at the end, the XML form
of Qwen3-Coder and Qwen3.5, the shapes of OpenAI and Llama (``function``, ``parameters``), arguments written as a JSON
string or beside the name, a list of one call. Other spellings of single values are the tools' affair, see
:meth:`verl_mapo.tools.base.VisualTool.respell`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from verl_mapo.rollout.plain_text import well_formed

Call = tuple[str, Any]
"""The name of a tool and the decoded arguments."""

MOST_CHARACTERS = 2000
"""Longest text that is read; a call of a visual tool has a label and a few numbers."""

_MOST_STARTS = 4
"""Places at the end of a text at which a call may start, of which the last are tried."""

_FENCE = re.compile(r"```[\w+-]*[ \t]*\n?")
_FUNCTION = re.compile(r"<function=([^>\s]+)\s*>((?:(?!</?function).)*)(?:</function>)?", re.DOTALL)
_FUNCTION_TAG = "<function="
_PARAMETER = re.compile(r"<parameter=([^>\s]+)\s*>\n?(.*?)\n?</parameter>", re.DOTALL)
_TYPOGRAPHIC = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'"})
_SPARE = re.compile(r"[\s}\],;`]*")
_START_OF_CALL = re.compile(r"""\{\s*["'](?:name|function)["']\s*:""")
_UNKNOWN_ESCAPE = re.compile(r"""\\(?![\\'"abfnrtvxuUN0-7\n])""")
_ARGUMENTS = ("arguments", "parameters", "args", "input")


def read(text: str, closed: bool) -> Call | None:
    """The call in a text in any spelling whose meaning is certain; None if there is none.

    Args:
        text: what stands after the opening tag.
        closed: whether the closing tag follows, so that the text is complete.
    """
    text = text.strip()
    if not text or len(text) > MOST_CHARACTERS:
        return None
    fence = _FENCE.match(text)
    text = text[fence.end() :].removesuffix("```").strip() if fence else text
    if text.startswith(_FUNCTION_TAG):
        return _xml_call(text)
    return next((call for call in map(_call, _values(text, closed)) if call), None)


def read_tail(text: str) -> tuple[Call, int] | None:
    """The call that a text without an opening tag ends with, and the position at which it starts; None without one.

    The call has to be complete and to have arguments, because an answer may be JSON, too.
    """
    starts = [*_START_OF_CALL.finditer(text, max(len(text) - MOST_CHARACTERS, 0))]
    for match in starts[-_MOST_STARTS:]:
        for value in _values(text[match.start() :].strip(), closed=False):
            complete = isinstance(value, dict) and any(isinstance(value.get(key), dict | str) for key in _ARGUMENTS)
            if complete and (call := _call(value)):
                return call, match.start()
    text = text.rstrip()
    begin = text.rfind(_FUNCTION_TAG, max(len(text) - MOST_CHARACTERS, 0))
    call = _xml_call(text[begin:]) if begin >= 0 and text.endswith("</function>") else None
    return (call, begin) if call else None


def _values(text: str, closed: bool) -> Iterator[Any]:
    """The values that a text may stand for, the most literal reading first."""
    for spelling in dict.fromkeys((text, text.translate(_TYPOGRAPHIC))):
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(spelling)
        except (ValueError, RecursionError):  # it does not begin with JSON; the other readings follow
            pass
        else:
            if _SPARE.fullmatch(spelling, end):
                yield value
        missing = range(3) if closed else range(1)
        for braces in missing:
            yield from _literal(spelling.rstrip(",; \n") + "}" * braces)
        shorter = spelling.rstrip()
        for _ in range(2):
            shorter = shorter.removesuffix("}").rstrip()
            if shorter.endswith("}"):
                yield from _literal(shorter)


def _literal(text: str) -> Iterator[Any]:
    """The value of a text that is JSON or a Python literal."""
    try:
        yield json.loads(text, strict=False)
        return
    except (ValueError, RecursionError):  # it is not JSON; it may be Python
        pass
    if _UNKNOWN_ESCAPE.search(text):  # Python keeps it with a warning
        return
    try:
        yield json.loads(json.dumps(ast.literal_eval(text)))  # types of JSON, or a TypeError
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return


def _call(value: Any) -> Call | None:
    """The call that a decoded value stands for."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict):
        return None
    try:
        value = well_formed(value)
    except RecursionError:
        return None
    name = value.pop("name", None) or value.pop("function", None)
    if not isinstance(name, str):
        return None
    key = next((key for key in _ARGUMENTS if key in value), None)
    if key is None:
        value.pop("type", None)
        return (name.strip(), value) if value else None
    arguments = value[key]
    return name.strip(), next(_literal(arguments), arguments) if isinstance(arguments, str) else arguments


def _xml_call(text: str) -> Call | None:
    """The call in Qwen3-Coder's form; the values stay texts."""
    function = _FUNCTION.fullmatch(text)
    if function is None:
        return None
    name, body = function.groups()
    parameters = _PARAMETER.findall(body)
    names = [key for key, _ in parameters]
    if _PARAMETER.sub("", body).strip() or len(set(names)) < len(names):
        return None
    return name.strip("\"'"), {key.strip("\"'"): value for key, value in parameters}
