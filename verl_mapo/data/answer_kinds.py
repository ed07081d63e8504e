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
from verl_mapo.rewards.numerals import digits_for_words
from verl_mapo.rewards.quantities import quantity
from verl_mapo.rewards.quantity_words import UNITS

EXACT_WORDS = 3
"""Most words of a truth that is compared as a text, such as ``Bakery Cafe`` [ours]."""

_MATH = re.compile(r"\\[a-zA-Z]+|[\^_=√π°±≤≥<>∞]|\d[a-rt-z]\b|^\([^()]*\d[^()]*,[^()]*\)$|\$")
_CALCULATION = re.compile(r"(?=.*\d\s*[-+*/]\s*\d)(?:\d|(?<![A-Za-z])[a-z](?![A-Za-z])|[\s.,+*/()-])+")
"""An expression of numbers and single letters."""
_JOINED = re.compile(r"\d+(?:\s*[-–/]\s*\d+)+")
"""Whole numbers that are joined: a telephone number, a date, a score, ``50/50``; or a fraction."""
_FRACTION = re.compile(r"(\d+)/(\d+)")
_IN_LATEX = re.compile(r"\\boxed|\\\(|\$.*\$", re.DOTALL)
_AMOUNT = re.compile(
    r"(?:(?:about|around|approximately|roughly|nearly|almost)\s+|[~≈#]\s*|no\.\s*)?"
    r"[-+]?\s*(?:us\$|[$€£¥₹₩₽])?\s*[-+]?\.?\d(?P<behind>.*)",
    re.IGNORECASE | re.DOTALL,
)
_SAID = re.compile(
    r"(?:yes|no)(?:\W*|(?!\.\s*\d)[,.;:!—–]?\s+\(?(?:"
    r"(?:it|there|this|that|these|those|they|he|she|we|i|you|the|an?|both|all|only|not)\b.*"
    r"|.*(?:\b(?:is|are|was|were|be|has|have|had|do|does|did|can|could|will|would|cannot)\b|n't\b).*))",
    re.IGNORECASE | re.DOTALL,
)
"""Yes or no, alone or before a clause; ``No. 5``, ``Yes! Pizza`` and ``no-entry`` are none."""
_TRUE_OR_FALSE = re.compile(r"(?=.*\btrue\b).*\bfalse\b", re.IGNORECASE | re.DOTALL)
_FUNCTION_WORDS = frozenset(
    "a an the of to in on at by for from with into onto near under over above below behind between left right front "
    "is are was were be been has have had do does did can could will would it its they he she there this that these "
    "those his her their and or not no".split()
)
_OPTION = re.compile(
    r"(?:(?<=^)|(?<=[\s,;:?.)]))(?:[(（]([A-J])[)）]|([A-J])(?:[.):](?=\s)|(?<=\n[A-J])[.):、．：]))\s*"
)
_INSTRUCTION = re.compile(
    r"(?<!\S)(?:Please\b|(?:Answer|Respond|Reply)\s+(?:with|by|in|using|only|directly|the\s+(?:\w+\s+)?question)\b"
    r"|(?:Choose|Select|Pick|Give|Provide|Output|Return|Write|Put|State)\s+(?:the|one|only|your|just|an?|from)\b"
    r"|Only\s+(?:answer|output|give|reply|respond|return|write)\b|(?:Your|The\s+final)\s+answer\b|Think\s+step\b)"
)
"""Where an instruction about the answer begins."""


def target_of(truth: Any, options: Sequence[str] | None = None, question: str = "") -> RewardModel:
    """How the answers to a question are checked.

    ======================================================  ===================
    truth                                                   style
    ======================================================  ===================
    a letter, or the text of one of the options             ``multiple_choice``
    ``Yes``, or a sentence that begins with yes or no       ``yes_no``
    true or false, as ``Yes`` or ``No``                     ``yes_no``
    the same where the question names both                  ``exact``
    a number, with or without a unit                        ``numeric``
    LaTeX, an equation, a point, an expression              ``math``
    up to :data:`EXACT_WORDS` words, none a function word   ``exact``
    anything else                                           ``judge``
    ======================================================  ===================

    A name is no number though it holds one (``7-Eleven``, ``5th Avenue``), and neither are numbers that are joined
    (``555-1234``, ``50/50``, ``24/7``), unless they are another fraction or stand in LaTeX.

    Args:
        truth: the published truth: a text, a number, a bool, or one of them in ``\\boxed{}`` or answer tags.
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
    if (word := plain.lower()) in ("true", "false") and not _TRUE_OR_FALSE.match(question):
        return _target("yes_no", "Yes" if word == "true" else "No")
    return _target(_style(plain, _IN_LATEX.search(text) is not None), text)


def _style(plain: str, latex: bool) -> str:
    """The style of an unwrapped truth without options.

    Args:
        plain: the truth.
        latex: whether it stands in LaTeX, where numbers are joined by operators.
    """
    if re.fullmatch(r"\(?[A-J]\)?\.?", plain):
        return "multiple_choice"
    if _SAID.fullmatch(plain) and says_yes(plain) is not None:
        return "yes_no"
    if _is_number(plain, latex):
        return "numeric"
    if _MATH.search(plain) or (_CALCULATION.fullmatch(plain) and (latex or not _JOINED.fullmatch(plain))):
        return "math"
    return "exact" if _is_name(plain) else JUDGE


def _is_number(plain: str, latex: bool) -> bool:
    """Whether a truth is one number, perhaps with a unit, and nothing that mathematics would have to read."""
    if quantity(plain) is None or re.search(r"\\|[\^=√]", plain):
        return False
    named = re.match(r"\d+-([^\W\d_]+)", plain)  # as in 7-eleven
    if named and digits_for_words(named[1]) != named[1]:
        return False
    digits = digits_for_words(plain)
    if joined := _JOINED.match(digits):
        fraction = _FRACTION.fullmatch(joined.group())
        if fraction is None or not (latex or int(fraction[1]) != int(fraction[2]) and fraction.group() != "24/7"):
            return False
    found = _AMOUNT.fullmatch(digits)
    words = re.findall(r"[^\W\d_]+", found["behind"]) if found else []
    return found is not None and all(word[0].islower() or _is_unit(word) for word in words)


def _is_unit(word: str) -> bool:
    """Whether a word in capitals may stand behind a number: a unit, or a letter for thousands and more."""
    return word in ("K", "M", "B") or bool({word.lower(), word.lower().removesuffix("s")} & UNITS)


def _is_name(plain: str) -> bool:
    words = normalise(plain).split()
    return 0 < len(words) <= EXACT_WORDS and not _FUNCTION_WORDS.intersection(words if len(words) > 1 else ())


def _target(style: str, truth: str, options: Sequence[str] | None = None) -> RewardModel:
    return {"style": style, "ground_truth": truth, "options": list(options) if options else None}


def options_in(question: str) -> list[str]:
    """The texts of the options that a question lists as ``(A) red (B) blue``, ``A. red`` or ``A) red``, A first.

    In a line of its own, a label needs no blank behind it: ``A.red``.

    An instruction behind them, such as ``Answer with the letter.``, is no part of the last one.

    Args:
        question: the text of a question.

    Returns:
        two or more texts, or none where the letters are not A, B, ... in order.
    """
    question = question.replace("\r\n", "\n")
    labels = list(_OPTION.finditer(question))
    first = next((one.start() for one in labels if (one[1] or one[2]) == "A"), len(question))
    begins = {one.end() for one in labels}  # an option may be an instruction itself
    ends = (one.start() for one in _INSTRUCTION.finditer(question, first) if one.start() not in begins)
    return _listed(question[: next(ends, len(question))]) or _listed(question)


def _listed(text: str) -> list[str]:
    """The texts of the options at the end of a text; none where the letters are not A, B, ... in order."""
    found = list(_OPTION.finditer(text))
    starts = [place for place, one in enumerate(found) if (one[1] or one[2]) == "A"]
    if not starts:
        return []
    found = found[starts[-1] :]
    if [one[1] or one[2] for one in found] != [chr(65 + place) for place in range(len(found))]:
        return []
    ends = [one.start() for one in found[1:]] + [len(text)]
    texts = [text[one.end() : end].strip(" \n\t,;") for one, end in zip(found, ends, strict=True)]
    texts[-1] = texts[-1].partition("\n")[0].strip()
    return texts if len(texts) > 1 and all(texts) else []
