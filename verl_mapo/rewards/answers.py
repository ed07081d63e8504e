# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The answer in a response, and the answer checks: functions that compare it with the ground truth.

``reward.description_alignment.outcome`` or a row's ``reward_model["style"]`` chooses a check by name or dotted path.
Every built-in check first applies :func:`~verl_mapo.rewards.answer_text.unwrap` to the answer and to the truth. No
function of this module raises an exception because of what a model wrote.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from verl_mapo.registry import Registry
from verl_mapo.rewards.answer_text import MAX_LENGTH, boxed, normalise, stated_line, tagged, takes_back, unwrap
from verl_mapo.rewards.choices import choice
from verl_mapo.rewards.denied_answers import names_another
from verl_mapo.rewards.quantities import (
    changes,
    contradicts,
    is_changed,
    is_joined,
    quantity,
    reassigns,
    units_differ,
    without_unit,
)
from verl_mapo.rewards.yes_no_words import as_yes_or_no
from verl_mapo.rollout.parser import CLOSE, OPEN

TRUTH_KEYS = ("target", "targets", "answer", "answers", "ground_truth", "value", "solution")
"""The keys under which a mapping may have its answer; Search-R1's rows in verl use ``target``."""

_WORDS = re.compile(r"[^\W\d_]{2,}(?:[ ,;.'-]+[^\W\d_]+)*")
_DATE_OR_TIME = re.compile(r"\d{1,4}([/.-])\d{1,2}\1\d{1,4}|\d{1,2}(?::\d{1,2})+(?:\s*[ap]\.?m)?", re.IGNORECASE)
_ORDINARY_WORD = re.compile(
    r"(?<![\\A-Za-z])(?!(?:and|or|sin|cos|tan|cot|sec|log|ln|exp|sqrt|frac|pi|mod)(?![A-Za-z]))[A-Za-z]{2,}(?:'[a-z]+)?"
)
_MACRO = re.compile(r"\\(?:text|mathrm|mbox)\s*\{")
_RELATION = re.compile(r"[<>≤≥≠]|\\(?:[lg]eq?|[lg]t|neq?)(?![A-Za-z])")
_LATEX_OF = {"√": r"\sqrt ", "·": r"\cdot ", "∞": r"\infty ", "°": r"^\circ", "%": r"\%", "**": "^"}
_DROPPED = re.compile(
    r"\\(?:lor|vee|land|wedge|lnot|neg|not|mid|oplus|ldots|dots|cdots|mod|bmod|pmod|cup|cap|setminus|bigcup|bigcap)(?![A-Za-z])"
    r"|[∪∩∨∧¬⊕]|(?:\\(?:to|implies|iff|mapsto|(?:[Ll]ong)?(?:left)?[Rr]ightarrow|Leftrightarrow|Longleftrightarrow)(?![A-Za-z])"
    r"|[→⇒⇔⟹]|=>|->)(?!.*=)|\.\.\.|…|\d\s*_|\d0s\b|\b(?:or|either)\b|或"
)
_OR = {"or", "either", "或", r"\lor", r"\vee"}
_ALTERNATIVES = re.compile(r"[,;]|\\(?:pm|cup)(?![A-Za-z])|±|\bor\b|或")
_NUMBERS = re.compile(r"^[^\\]*\d(?:(?:\s+|\s*\|\s*)\d|\s+[(\[]\s*[-+]?[\d.]+\s*[)\]])")
_PRODUCT = re.compile(r"(?<![\w.^}\\])(\d+(?:\.\d+)?)\((?=[-+]?[\d.]+\))")
_FUNCTION = re.compile(r"(?<![\\A-Za-z])(pi|sin|cos|tan|cot|sec|csc|log|ln|exp|theta|infty)(?![A-Za-z])")
_ROOT = re.compile(r"(?<![\\A-Za-z])(sqrt|cbrt)\s*(?:\(([^()]*(?:\([^()]*\)[^()]*)*)\)|(\d+))|√\s*\(([^()]*)\)")
_PAIR = re.compile(r"\d,(?:\d{1,2}|\d{4,})(?!\d)")
_HAS_VALUE = re.compile(r"[\d\\π√]")
_SEVERAL = re.compile(r"[,;|/]\s|\n|\b(?:and|or)\b")
_UNCERTAIN = re.compile(
    r"(?:[<>≠≤≥]|\b(?:times|min|none))\s*$|\d[\w%.]*\s*(?:[,;|]|\s/|\band\b)[\s,;]*$", re.IGNORECASE
)
_YES_OR_NO = re.compile(r"(yes|no)(?:$|[^\w\s]|\s+(?=(?:it|there|this|that|they|he|she|the)\b))", re.IGNORECASE)
_NONE_THERE = re.compile(r"\b(there (?:is|are|was|were)) none\b", re.IGNORECASE)


class Undecided(Exception):
    """A check did not come to a result within its limits. The answer counts as wrong, and in the term ``undecided``."""


class AnswerCheck(Protocol):
    """A plain function that says whether an answer is correct.

    A check from another package takes ``**_`` as its last parameter, so that it can leave out the keywords that it does
    not use. It runs in a thread, so it may block, but it has to return. It may raise :class:`Undecided`.
    """

    def __call__(self, answer: str, truth: str, *, options: Sequence[str], tolerance: float) -> bool:
        """Whether the answer equals one accepted answer.

        Args:
            answer: the extracted answer, never empty.
            truth: one accepted answer.
            options: the row's ``reward_model["options"]``, the texts of a multiple choice; empty if it has none.
            tolerance: ``reward.description_alignment.tolerance``.
        """


CHECKS: Registry[AnswerCheck] = Registry(
    "answer check",
    None,
    {
        "exact": "verl_mapo.rewards.answers:exact",
        "multiple_choice": "verl_mapo.rewards.answers:multiple_choice",
        "numeric": "verl_mapo.rewards.answers:numeric",
        "yes_no": "verl_mapo.rewards.answers:yes_no",
        "judge": "verl_mapo.rewards.answers:exact",
        "math": "verl_mapo.rewards.math_process:check_math",
    },
)
"""The answer checks by name. Under ``judge``, a run needs a judge, which is asked where the texts are not equal."""

JUDGE = "judge"
"""The style of a row whose answers no rule can check."""

FAST_CHECKS = ("exact", "multiple_choice", "numeric", "yes_no", JUDGE)
"""Names of the checks that are called directly in the event loop; every other check runs in a thread."""


def find_check(name: str) -> AnswerCheck:
    """The answer check with a built-in name or at a dotted path.

    Raises:
        ValueError: there is none, it is an async function, or it cannot be called like a check.
    """
    check = CHECKS.find(name)
    if inspect.iscoroutinefunction(check):
        raise ValueError(f"{name!r} is an async function, but an answer check is a plain one, which may block")
    try:
        inspect.signature(check).bind("answer", "truth", options=(), tolerance=0.0)
    except TypeError as error:
        raise ValueError(
            f"{name!r} cannot be called as check(answer, truth, options=..., tolerance=...) ({error}); a check that "
            "does not use the keywords takes **_ as its last parameter"
        ) from None
    return check


def extract(text: str) -> str:
    """The answer in a response, for example in the last turn of a rollout; empty if there is none.

    Nothing before the last ``</think>`` is read, and nothing after a ``<think>`` that is not closed, as in TRL's
    ``reasoning_accuracy_reward``. The answer is the content of the last ``<answer>...</answer>`` and, in it or without
    it, of the last ``\\boxed{...}``; as for math-verify, boxes that follow each other in a list are one answer. Without
    either it is a line, see :func:`~verl_mapo.rewards.answer_text.stated_line`. Tool calls are not read.
    """
    *called, text = text.rpartition("</think>")[2].partition("<think>")[0].split(CLOSE)
    text = "".join(part.partition(OPEN)[0] for part in called) + text
    content = tagged(text)
    box = boxed(text if content is None else content)
    if box is not None:
        return box
    return stated_line(text.partition(OPEN)[0]) if content is None else content


def is_right(equals: Callable[[str], bool], truths: Iterable[str]) -> bool | None:
    """Whether one truth is met; None if none is known to be met and a comparison came to no result.

    Args:
        equals: compares the answer with one truth; it may raise :class:`Undecided`.
        truths: the accepted answers.
    """
    verdict: bool | None = False
    for truth in truths:
        try:
            if equals(truth):
                return True
        except Undecided:
            verdict = None
    return verdict


def truths_of(ground_truth: Any) -> list[str]:
    """The accepted answers of a row.

    Args:
        ground_truth: one answer (a text, a number or a bool), a list of accepted ones, or a mapping that has its answer
            under one of :data:`TRUTH_KEYS`. A whole number that parquet made a float, such as 12.0, is written ``12``.

    Raises:
        ValueError: the ground truth is missing or empty, or is a mapping with none or several of these keys.
    """
    if isinstance(ground_truth, np.ndarray | np.generic):
        ground_truth = ground_truth.tolist()
    if isinstance(ground_truth, Mapping):
        found = [key for key in TRUTH_KEYS if ground_truth.get(key) is not None]
        if len(found) != 1:
            raise ValueError(
                f"the ground truth {short(ground_truth)} has its answer under {' and '.join(found) or 'no key'}: "
                f"use one answer, a list of accepted answers, or a mapping with one of the keys {', '.join(TRUTH_KEYS)}"
            )
        return truths_of(ground_truth[found[0]])
    if isinstance(ground_truth, str) and ground_truth.strip():
        return [ground_truth]
    if isinstance(ground_truth, Iterable) and not isinstance(ground_truth, str | bytes):
        truths = [truth for item in ground_truth for truth in truths_of(item)]
        if truths:
            return truths
    elif isinstance(ground_truth, bool | int):
        return [str(ground_truth)]
    elif isinstance(ground_truth, float) and math.isfinite(ground_truth):
        return [f"{ground_truth:.0f}" if ground_truth.is_integer() else str(ground_truth)]
    raise ValueError(
        f"the ground truth {short(ground_truth)} is no answer: use a text, a number, or a list of accepted answers"
    )


def options_of(options: Any) -> list[str]:
    """The texts of a row's options in order, from a list or from a mapping of letters to texts; empty without options.

    The keys of a mapping are letters from A or numbers from 0 or 1, in any order. The last of either form may be None,
    as Arrow writes them where another row has more options.

    Raises:
        ValueError: the options are one text or something else that is no list, the keys are others or leave one out,
            or a text between two options is missing.
    """
    options = options.tolist() if isinstance(options, np.ndarray) else options
    if options is None:
        return []
    if isinstance(options, Mapping):
        ordered = {_place(key): text for key, text in options.items()}
        places = sorted(ordered, key=str) if None in ordered else sorted(ordered)
        if len(ordered) != len(options) or places not in (list(range(len(options))), list(range(1, len(options) + 1))):
            raise ValueError(
                f"the options {short(options)} have the keys {', '.join(map(repr, options))}: use A, B, ... or 1, "
                "2, ... without a gap, or the list of their texts, A first"
            )
        options = [ordered[place] for place in places]
    if isinstance(options, str | bytes) or not isinstance(options, Iterable):
        raise ValueError(f"the options {short(options)} are no list: use the list of their texts, A first")
    texts = list(options)
    while texts and texts[-1] is None:
        texts.pop()
    if None in texts:
        raise ValueError(f"the options {short(options)} have no text at {chr(65 + texts.index(None))}: fill the gap")
    return [str(option) for option in texts]


def _place(key: Any) -> int | None:
    """The place of an option by its key, 1 for ``A``; None if the key is no letter and no whole number."""
    key = str(key).strip().upper()
    if key.isdecimal():
        return int(key)
    return ord(key) - ord("A") + 1 if len(key) == 1 and "A" <= key <= "Z" else None


def exact(answer: str, truth: str, **_: Any) -> bool:
    """Whether both texts are equal; case, white space, commas, and quotes and stops at the edges of words are ignored.

    Articles and explanations count, as for ``exact_match`` of lm-eval: ``a red car`` is not ``red car``.
    """
    return normalise(answer) == normalise(truth) != ""


def multiple_choice(answer: str, truth: str, *, options: Sequence[str] = (), **_: Any) -> bool:
    """Whether both choose the same options; each may be given by letters in any common format, or one by its text.

    Several letters are a set, and all of them are needed: ``A, C`` equals ``CA`` and not ``A``. A row without options
    whose truth chooses no letter is compared as for ``exact``.

    Args:
        answer: the extracted answer.
        truth: the accepted answer.
        options: the texts in order, A first; without them only letters are recognised.
    """
    chosen, correct = choice(answer, options), choice(truth, options)
    if chosen is None and correct is None:
        return not options and exact(answer, truth)
    return chosen == correct


def numeric(answer: str, truth: str, *, tolerance: float = 1e-4, **_: Any) -> bool:
    """Whether both are the same quantity within a relative tolerance; see :mod:`verl_mapo.rewards.quantities`.

    ``50%`` equals ``0.5`` as well as ``50``. Where both texts name a unit, the units have to be the same; none is
    converted. Where neither is a quantity but both hold a digit, such as ``9:30``, they are compared as for ``exact``.

    Args:
        answer: the extracted answer.
        truth: the accepted answer.
        tolerance: largest difference, relative to the larger of the two numbers.
    """
    given, correct = quantity(answer), quantity(truth)
    if given is None and correct is None:
        spaceless = [re.sub(r"(?<=\d[ap])\.(?=m)", "", normalise(one).replace(" ", "")) for one in (answer, truth)]
        return spaceless[0] == spaceless[1] and any(map(str.isdigit, spaceless[1]))
    return given is not None and correct is not None and given.equals(correct, tolerance)


def yes_no(answer: str, truth: str, **_: Any) -> bool:
    """Whether both say yes, or both say no; ``No, it is on the right`` says no, and ``It is on the right`` neither.

    The truth is taken at its first word. An answer says what it says as the answer to a multiple choice of Yes and No:
    one that takes its first word back says neither. ``Yep``, ``没有`` and their like are read as well.
    """
    answer, truth = as_yes_or_no(answer), as_yes_or_no(truth)
    plain = _NONE_THERE.sub(r"\1 nothing", answer.replace("**", ""))  # as a choice, "none" denies all options
    said = choice(plain, ("Yes", "No"))
    return exact(answer, truth) or (said is not None and (said == "A") == says_yes(truth))


def says_yes(truth: str) -> bool | None:
    """Whether a truth is yes or begins with it; False for no; None for any other, such as ``No parking``."""
    word = _YES_OR_NO.match(unwrap(truth))
    return None if word is None else word[1].lower() == "yes"


def can_be_met(style: str, truth: str, options: Sequence[str] = ()) -> bool:
    """Whether some answer can equal a truth under a style; True for checks that are not in :data:`FAST_CHECKS`."""
    return style not in FAST_CHECKS or CHECKS.find(style)(truth, truth, options=options, tolerance=0.0)


def math_equal(answer: str, truth: str) -> bool:
    """Whether both are mathematically equal. Without a time limit: a tower of powers never returns.

    Words, dates and times are compared as for ``exact``, a truth that is one letter as a choice, and two quantities by
    value and unit. Everything else is left to math-verify, which accepts here what it accepts by itself, except for
    the last number of a list, an expression that the words around it deny or change, and notation that it drops, such
    as the base in ``13_5`` or what is behind ``\\lor``. The check ``math`` calls this function in a child process
    with a limit of CPU time, see :mod:`verl_mapo.rewards.math_process`.

    Args:
        answer: the extracted answer.
        truth: the accepted answer.
    """
    given, gold = unwrap(answer), unwrap(truth)
    if not given or not gold or max(map(len, (given, gold, answer))) > MAX_LENGTH:
        return bool(gold) and given == gold
    if _WORDS.fullmatch(gold) or _DATE_OR_TIME.fullmatch(gold) or _DATE_OR_TIME.fullmatch(given):
        return exact(given, gold)
    if given.replace(" ", "") == gold.replace(" ", "") or (re.fullmatch("[A-J]", gold) and choice(given) == gold):
        return True
    one, other = quantity(given), quantity(gold)
    if one is not None and other is not None and not ("=" in given and "=" in gold):
        if one.equals(other, 1e-9):
            return True
        if not one.equals(other, 1e-4) and not _PAIR.search(given + gold):
            return False
    if one is None and (contradicts(given) or _RELATION.match(given) or _NUMBERS.search(given)):
        return False
    if units_differ(given, gold) or (
        reassigns(given) and not (_ORDINARY_WORD.search(given) or _ALTERNATIVES.search(gold))
    ):
        return False
    unread = set(_DROPPED.findall(given)) - set(_DROPPED.findall(gold))
    unread -= _OR if _ALTERNATIVES.search(gold) else set()
    return not unread and _verified(answer, given, truth, gold)


def _verified(answer: str, given: str, truth: str, gold: str) -> bool:
    """Whether math-verify finds both equal; it reads the whole answer and, in a sentence, the last expression."""
    from math_verify import parse, verify

    def read(text: str, plain: str) -> list[Any]:
        """The expressions of a whole text, unwrapped and, where a macro may hold a unit, as it is."""
        forms = [_as_latex(plain), *([text.strip(" $.")] if _MACRO.search(text) else [])]
        return [one for form in forms for one in parse(f"\\boxed{{{form}}}", parsing_timeout=None)]

    given, gold = without_unit(given), without_unit(gold)
    before, last, behind = _last_expression(given)
    if (
        names_another(re.split(r"[;!?\n]|\.\s", before)[-1])
        or _UNCERTAIN.search(before)
        or is_changed(before)
        or is_joined(before)
        or changes(re.sub(r"\\[A-Za-z]+|[^\w\s'-]", " ", behind))
    ):
        return False
    expected, found = read(truth, gold), [read(answer, given)]
    if last != given:
        found += [read(last, last), [] if _SEVERAL.search(last) else parse(answer, parsing_timeout=None)]
    keywords = {"allow_set_relation_comp": True, "timeout_seconds": None}
    stated = last != given and _HAS_VALUE.search(before) and "answer" in answer.lower()  # math-verify begins there
    if stated and all(found[1:]) and not verify(*found[1:], **keywords):
        found = [] if takes_back("", given) else found[2:]
    return any(bool(expected and one) and verify(expected, one, **keywords) for one in found)


def _last_expression(text: str) -> tuple[str, str, str]:
    """What stands before, in and behind the last expression of a sentence; a text without words is one expression."""
    words = list(_ORDINARY_WORD.finditer(text))
    ends, starts = [word.end() for word in words], [word.start() for word in words]
    for start, end in zip([*ends[::-1], 0], [len(text), *starts[::-1]], strict=True):
        if words and _HAS_VALUE.search(text[start:end]) and text[start:][:1] != "^":
            return text[:start], text[start:end].strip(" ,.;:$"), text[end:]
    return "", text, ""


def _as_latex(text: str) -> str:
    """A text with plain names and signs of mathematics as LaTeX: ``2*sqrt(3)`` becomes ``2\\cdot \\sqrt{3}``."""
    for _ in range(3):
        text = _ROOT.sub(_latex_root, text)
    text = _PRODUCT.sub(r"\1\\cdot (", _FUNCTION.sub(r"\\\1 ", text))
    for mark, latex in _LATEX_OF.items():
        text = text.replace(mark, latex)
    return re.sub(r"\s*\*\s*", r"\\cdot ", text)


def _latex_root(found: re.Match[str]) -> str:
    degree = "[3]" if found[1] == "cbrt" else ""
    return f"\\sqrt{degree}{{{found[2] or found[3] or found[4] or ''}}}"


def short(value: Any) -> str:
    """At most 80 characters of the ``repr`` of a value."""
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
