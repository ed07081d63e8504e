# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Other words for yes and no."""

from __future__ import annotations

import re

from verl_mapo.rewards.answer_text import normalise, unwrap

_OTHERS = {
    "Yes": "yeah yep yup yah 是 是的 对 对的 有 有的 はい 네 예",
    "No": "nope nah 否 不 不是 不是的 不对 没有 無 无 いいえ 아니요",
}
_WORD_OF = {other: word for word, others in _OTHERS.items() for other in others.split()}
_COLLOQUIAL = re.compile(r"(?:yeah|yep|yup|yah|nope|nah)(?=[,.;!])", re.IGNORECASE)


def as_yes_or_no(text: str) -> str:
    """A text with ``Yes`` or ``No`` in the place of a word that means it.

    The word is all of the text, in any language, or stands before a stop at its beginning, if it is colloquial English.
    Any other text stays as it is.
    """
    if alone := _WORD_OF.get(normalise(text)):
        return alone
    content = unwrap(text)
    begin = _COLLOQUIAL.match(content)
    return _WORD_OF[begin.group().lower()] + content[begin.end() :] if begin else text
