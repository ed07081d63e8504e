# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps text of a model or of a data row from becoming anything but text.

A tokenizer reads ``<|image_pad|>`` in an observation or a question as an image, although no image belongs to it; and it
refuses half a surrogate pair, which JSON may hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

PLACEHOLDERS = ("<|image_pad|>", "<|video_pad|>")
"""The tokens of the Qwen families in whose place an image or a video is put."""

_HALF_PAIR = re.compile("[\ud800-\udfff]")
_CONTROL_TOKEN = re.compile(r"<\|.*\|>", re.DOTALL)


def well_formed(value: Any) -> Any:
    """A decoded value with U+FFFD in the place of each half of a surrogate pair.

    Raises:
        RecursionError: the value is nested too deeply.
    """
    if isinstance(value, str):
        return _HALF_PAIR.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_HALF_PAIR.sub("\ufffd", str(key)): well_formed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [well_formed(item) for item in value]
    return value


def loosened(pattern: re.Pattern[str], text: str) -> str:
    """A text in which a space follows the first character of everything that a pattern finds."""
    return pattern.sub(lambda match: f"{match.group()[0]} {match.group()[1:]}", text)


class PlainText:
    """Changes texts so that a tokenizer finds no special token in them: a space follows the first character of each.

    Special are the tokens that the tokenizer marks as special, its named ones (``eos_token`` and the like),
    :data:`PLACEHOLDERS`, and every added token that is spelled ``<|...|>``. Tags such as ``<think>``, which
    Qwen3's tokenizer has as single tokens, are plain text and stay.

    Args:
        tokenizer: the model's tokenizer.
    """

    def __init__(self, tokenizer: Any):
        added = tokenizer.added_tokens_decoder.values()
        special = {token.content for token in added if token.special or _CONTROL_TOKEN.fullmatch(token.content)}
        special |= set(tokenizer.all_special_tokens) | set(PLACEHOLDERS)
        longest_first = sorted((token for token in special if len(token.strip()) > 1), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def text(self, text: str) -> str:
        """A text without special tokens and halves of surrogate pairs."""
        text = well_formed(text)
        while self._special.search(text):  # the halves of a token may meet around another
            text = loosened(self._special, text)
        return text

    def messages(self, messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Messages in which every text is plain, except in parts that hold images; the given ones are not changed."""
        return [self._plain(message) for message in messages]

    def _plain(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._plain(item) for item in value]
        if isinstance(value, dict) and value.get("type") not in ("image", "image_url", "video", "audio"):
            return {key: self._plain(item) for key, item in value.items()}
        return value
