# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Other words for yes and no, and what a sentence that begins with one of them answers."""

from __future__ import annotations

import re

from verl_mapo.rewards.answer_text import normalise, unwrap

_OTHERS = {
    "Yes": "yeah yep yup yah 是 是的 对 对的 有 有的 はい 네 예",
    "No": "nope nah 否 不 不是 不是的 不对 没有 無 无 いいえ 아니요",
}
_WORD_OF = {other: word for word, others in _OTHERS.items() for other in others.split()}
_COLLOQUIAL = re.compile(r"(?:yeah|yep|yup|yah|nope|nah)(?=[,.;!])", re.IGNORECASE)
_POLAR = {"yes": "no", "no": "yes", "true": "false", "false": "true", "是": "否", "否": "是", "对": "错", "错": "对"}
_UNABLE = re.compile(
    r"(?:n't|cannot|can\s+not)\s+(?:\w+\s+)?(?:know|tell|determine|say|see|sure|be\s+(?:known|told|determined|said|seen|sure))"
    r"(?!\s+(?:any|an?)(?![^\W_]))"
    r"|unable|unclear|not\s+sure",
    re.IGNORECASE,
)
_POLAR_SENTENCE = re.compile(
    r"^(yes|no|true|false)\s+(?=(?:it|there|this|that|they|he|she|we|the)(?![^\W_]))", re.IGNORECASE
)
_VERB = r"(?:is|are|was|were|does|do|did|has|have|had|can|could|will|would|should)"
_AFFIRMS = re.compile(rf"\W*(?:it|there|this|that|they|he|she|we|the(?:\s+\w+){{1,4}})\s+{_VERB}\W*$", re.IGNORECASE)
_AGREES = re.compile(
    rf"(?<![^\W_])(?:(?:{_VERB}\s+not|{_VERB}n't|can't|won't|cannot)(?![^\W_])"
    r"(?:\s+(?:the\s+)?(?:correct|right|true|answer|case)(?![^\W_]))?"
    rf"|{_VERB}\s+(?:incorrect|false|wrong|untrue|inaccurate)(?![^\W_]))",
    re.IGNORECASE,
)


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


def polar_answer(text: str) -> tuple[str, str]:
    """The word that ``Yes, it is`` or ``No, it is not`` answers, in lower case, and what the sentence says behind it.

    The word is empty if the text does not begin with yes, no, true, false or their Chinese forms, if the sentence does
    not agree with it, as ``Yes, there is no dog``, or if it says that nothing can be told. What agrees is left out.
    """
    text = _POLAR_SENTENCE.sub(r"\1, ", text)
    first, stop, rest = re.match(r"([^,.;:!\n]*)([,.;:!\n]?)(.*)", text, re.DOTALL).groups()
    word = normalise(first)
    if not stop or word not in _POLAR:
        return "", ""
    if word in ("yes", "true", "是", "对"):
        said, contrary = rest, re.search(r"(?<!\w)(?:not|no)(?!\w)|n't|cannot", rest)
    else:
        said, contrary = _AGREES.sub(" ", rest), _AFFIRMS.match(rest)
    contrary = contrary or _POLAR[word] in normalise(said).split() or _UNABLE.search(rest)
    return ("", "") if contrary else (word, said)
