# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The items of a JSON list as a stream, read by Python's own decoder, which takes what Python writes, such as NaN."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

DECODER = json.JSONDecoder(strict=False)
"""Takes NaN and Infinity, integers of any size that Python reads, and control characters, such as a tab, in texts."""

LONGEST = 2**27
"""Number of characters up to which a text is read to find the end of an item."""

_CHUNK = 2**20
_START = re.compile(r"\s*\[\s*(?=(\])|\S)")
_SPACE = re.compile(r"\s*")
_NEXT = re.compile(r"\s*(?:,|(\]))\s*")


class BrokenList(ValueError):
    """A list cannot be read further.

    Args:
        fault: what is wrong, in words.
        taken: number of bytes of the items before it.
    """

    def __init__(self, fault: str, taken: int):
        super().__init__(fault)
        self.taken = taken


def json_items(text: TextIO) -> Iterator[Any]:
    """The items of a list.

    Args:
        text: opened at the start of the list, as UTF-8 with ``errors="surrogateescape"``.

    Yields:
        Each item; a ``UnicodeDecodeError``, as a value, in the place of one with bytes that are no UTF-8.

    Raises:
        BrokenList: the text ends before the list does, or goes on behind it; an item is no JSON, or is longer than
            :data:`LONGEST`.
    """
    read = text.read(_CHUNK)
    while not (start := _START.match(read)):
        if not (more := text.read(_CHUNK)):
            raise BrokenList("there is no item after [", 0)
        read += more
    if start[1]:
        return _check_end(text, read[start.end(1) :], 0)
    place, taken = start.end(), 0
    while True:
        place = _SPACE.match(read, place).end()
        try:
            item, end = DECODER.raw_decode(read, place)
            after = _NEXT.match(read, end)
            fault = "" if after else f"there is no comma or ] after {read[max(end - 40, 0) : end]!r}"
        except json.JSONDecodeError as error:
            after, fault = None, str(error.msg)
        except (ValueError, RecursionError) as error:  # an integer of more digits than Python reads; too deep
            raise BrokenList(str(error), taken) from None
        if after is None:  # its end may not be read yet
            more = text.read(max(_CHUNK, len(read) - place)) if len(read) - place < LONGEST else ""
            if not more:
                raise BrokenList(fault or "the list has no end", taken)
            read, place = read[place:] + more, 0
            continue
        raw = read[place : after.end()].encode(errors="surrogateescape")
        taken += len(raw)
        yield _fault_of(raw) or item
        if after[1]:
            return _check_end(text, read[after.end() :], taken)
        place = after.end()


def _check_end(text: TextIO, rest: str, taken: int) -> None:
    """Raise BrokenList if anything but blanks is behind a list, such as the list of another file."""
    while not rest.strip():
        if not (rest := text.read(_CHUNK)):
            return
    raise BrokenList(f"the list ends before {rest.strip()[:40]!r}", taken)


def _fault_of(raw: bytes) -> UnicodeDecodeError | None:
    """What is wrong with bytes that are no UTF-8."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return error
    return None
