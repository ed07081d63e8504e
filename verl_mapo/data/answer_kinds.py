# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Which check can judge the answers to a question, told from the published truth and the options.

A check is chosen only where a right answer in the form that the question asks for passes it. Sentences in free words go
to a judge: no rule tells that ``left`` is what ``The dog is to the left of the bottle.`` says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from verl_mapo.data.reasons import LeftOut
from verl_mapo.data.rows import RewardModel
from verl_mapo.rewards.answer_text import boxed, normalise, tagged, unwrap
from verl_mapo.rewards.answers import JUDGE, says_yes
from verl_mapo.rewards.choices import choice
from verl_mapo.rewards.quantities import quantity

EXACT_WORDS = 3
"""Most words of a truth that is compared as a text, such as ``Bakery Cafe`` [ours]."""

_MATH = re.compile(r"\\[a-zA-Z]+|[\^_=√π°±≤≥<>∞]|\d\s*[-+*/]\s*\d|\d[a-z]\b|^\([^()]*\d[^()]*,[^()]*\)$|\$")
_FUNCTION_WORDS = frozenset(
    "a an the of to in on at by for from with into onto near under over above below behind between left right front "
    "is are was were be been has have had do does did can could will would it its they he she there this that these "
    "those his her their and or not no".split()
)
_OPTION = re.compile(r"(?:(?<=^)|(?<=[\s,;:?.)]))(?:\(([A-J])\)|([A-J])[.):](?=\s))\s*")


def target_of(truth: Any, options: Sequence[str] | None = None, question: str = "") -> RewardModel:
    """How the answers to a question are checked.

    ======================================================  ===================
    truth                                                   style
    ======================================================  ===================
    a letter, or the text of one of the options             ``multiple_choice``
    ``Yes``, or a sentence that begins with yes or no       ``yes_no``
    a number, with or without a unit                        ``numeric``
    LaTeX, an equation, a point, an expression              ``math``
    up to :data:`EXACT_WORDS` words, none a function word   ``exact``
    anything else                                           ``judge``
    ======================================================  ===================

    Args:
        truth: the published truth: a text, a number, or either in ``\\boxed{}`` or answer tags.
        options: the texts of a multiple choice, A first. Without them, options that the question lists are used.
        question: the text of the question.

    Raises:
        LeftOut: ``empty_answer``, there is no truth; ``impossible_answer``, it chooses none of the options.
    """
    text = "" if truth is None else str(truth).strip()
    plain = unwrap(text)
    if not plain or "" in (boxed(text), tagged(text)):
        raise LeftOut("empty_answer", f"the truth is {truth!r:.60}")
    listed = list(options or ()) or options_in(question)
    if listed and (letter := choice(text, listed)):
        return _target("multiple_choice", letter, listed)
    if options:
        raise LeftOut("impossible_answer", f"the truth {text[:60]!r} chooses none of the options {listed!r:.200}")
    return _target(_style(plain), text)


def _style(plain: str) -> str:
    """The style of an unwrapped truth without options."""
    if re.fullmatch(r"\(?[A-J]\)?\.?", plain):
        return "multiple_choice"
    if says_yes(plain) is not None:
        return "yes_no"
    if _is_number(plain):
        return "numeric"
    if _MATH.search(plain):
        return "math"
    return "exact" if _is_name(plain) else JUDGE


def _is_number(plain: str) -> bool:
    """Whether a truth is one quantity and nothing that mathematics would have to read."""
    return quantity(plain) is not None and not re.search(r"\\|[\^=√]", plain)


def _is_name(plain: str) -> bool:
    words = normalise(plain).split()
    return 0 < len(words) <= EXACT_WORDS and not _FUNCTION_WORDS.intersection(words if len(words) > 1 else ())


def _target(style: str, truth: str, options: Sequence[str] | None = None) -> RewardModel:
    return {"style": style, "ground_truth": truth, "options": list(options) if options else None}


def options_in(question: str) -> list[str]:
    """The texts of the options that a question lists as ``(A) red (B) blue``, ``A. red`` or ``A) red``, A first.

    Args:
        question: the text of a question.

    Returns:
        two or more texts, or none where the letters are not A, B, ... in order.
    """
    question = question.replace("\r\n", "\n")
    found = list(_OPTION.finditer(question))
    starts = [place for place, one in enumerate(found) if (one[1] or one[2]) == "A"]
    if not starts:
        return []
    found = found[starts[-1] :]
    if [one[1] or one[2] for one in found] != [chr(65 + place) for place in range(len(found))]:
        return []
    ends = [one.start() for one in found[1:]] + [len(question)]
    texts = [question[one.end() : end].strip(" \n\t,;") for one, end in zip(found, ends, strict=True)]
    texts[-1] = texts[-1].partition("\n")[0].strip()
    return texts if len(texts) > 1 and all(texts) else []
