# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Whether the words around ``answer`` or ``option`` leave it to be the answer, unlike ``the wrong answer``."""

from __future__ import annotations

import re

_CLAUSE = re.compile(
    r"[.,;:!?\n，。；：！？]|\b(?:so|thus|hence|therefore|then|because|and|but|since)\b", re.IGNORECASE
)
_CERTAIN = re.compile(r"\b(?:no|without\s+(?:an?y?\s+)?)\s*(?:doubt|question)\b", re.IGNORECASE)
_DENIES = re.compile(
    r"(?<![^\W_])(?:not|no|never|neither|nor|nobody|cannot|wrong(?:ly)?|incorrect(?:ly)?|false(?:ly)?|untrue|worst|least|"
    r"unlikely|bad|poor|weak|opposite|doubt\w*|deny|denies|if|unless|whether|suppose|assume|eliminated?|excluded?|reject(?:ed)?|"
    r"discard(?:ed)?|dismiss(?:ed)?|ruled|crossed)(?![^\W_])|n't(?![^\W_])|"
    r"(?<![^\W_])(?:other|another|second|alternative|naive|common|tempting|previous|earlier)(?:\s+best)?$|"
    r"(?:错误?|錯誤?|不正确|不正確|不对|不對|误|其他|非|不是|没有)(?:的|一个)?$",
    re.IGNORECASE,
)
_DENIED_ABROAD = re.compile(
    r"incorrect|falsch|mauvais|fausse|equivocad|errad|sbagliat|неправильн|неверн|yanlış|błędn|nicht|(?<![^\W_])(?:не|pas|salah)(?![^\W_])",
    re.IGNORECASE,
)
_QUALIFIED = re.compile(
    r"^.*(?<![^\W_])(?:the|an?|my|our|his|her|their|your|its|this|that)"
    r"\s+((?:(?!(?:is|are|was|were|be|of|to|for|with|in|on|at|by|from)\b)[^\W\d_]+[\s-]+){0,3})$",
    re.IGNORECASE,
)
_GOOD = frozenset(
    (
        "the my our only single final correct right best true actual proper exact accurate most very likely probable "
        "plausible possible appropriate suitable fitting valid logical reasonable desired required requested expected "
        "resulting overall short full complete direct simple simplified numeric numerical multiple choice letter one "
        "following given closest nearest"
    ).split()
)
_NOUN = re.compile(r"(?<![^\W_])(?:option|choice|answer|result|solution)(?![^\W_])", re.IGNORECASE)


def names_answer(before: str, said: str = "") -> bool:
    """Whether ``answer`` or its like names the answer.

    Args:
        before: the text before the noun.
        said: the noun with the words that belong to it, such as ``respuesta incorrecta:``.
    """
    clause = _CLAUSE.split(_CERTAIN.sub(" ", before[-200:]))[-1].rstrip()
    qualified = _QUALIFIED.search(f"{clause} ")
    words = re.split(r"[\s-]+", qualified[1].lower().strip(" -")) if qualified else []
    return not (_DENIES.search(clause) or _DENIED_ABROAD.search(f"{clause} {said}")) and {*words} - {""} <= _GOOD


def names_another(text: str) -> bool:
    """Whether a text speaks of an ``answer``, ``option`` or ``result`` that is not the answer, as ``the wrong answer``.

    It is not the answer behind a denial in the same clause (``I doubt that the answer``), nor behind an adjective that
    is not known to mean the right one (``the other answer``).
    """
    return not all(names_answer(text[: noun.start()]) for noun in _NOUN.finditer(text))
