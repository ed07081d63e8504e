# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The answer in a response, and the answer checks: functions that compare it with the ground truth.

``reward.description_alignment.outcome`` or a row's ``reward_model["style"]`` chooses a check by name or dotted path.
No function of this module raises an exception because of what a model wrote.
"""

from __future__ import annotations

import inspect
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from verl_mapo.registry import Registry
from verl_mapo.rollout.parser import OPEN as TOOL_CALL

_NUMBER = re.compile(r"(?<![\w.^])[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?!,)(?:\D.*)?", re.ASCII)
_UNIT = re.compile(r"\s*(%|°\s?[A-Za-z]?|[^\W\d_][^\W_]*(?:[/^][^\W_]+)*)?")
_LETTER_ALONE = re.compile(r"[\W_]*([A-Za-z])[\W_]*")
_LETTER_FIRST = re.compile(r"[\W_]*([A-Z])[*_]*[).:\]][\W_]*(?:\s|$)|\s*\(([A-Za-z])\)")
_STATED = r"\b(?i:answer|option|choice)\b(?i:\s{1,3}is|\s{1,3}option){0,2}[\s:=]{0,3}[^\w\s]{0,4}"
_LETTER_STATED = re.compile(_STATED + r"([A-Z])\b(?!['’])")
_LETTER_STATED_LAST = re.compile(_STATED + r"([a-z])[\W_]*$")
_LETTER_IN_BRACKETS = re.compile(r"\(([A-Z])\)")


class AnswerCheck(Protocol):
    """A plain function that says whether an answer is correct.

    A check from another package takes ``**_`` as its last parameter, so that it can leave out the keywords that it does
    not use. It runs in a thread, so it may block, but it has to return.
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
        "math": "verl_mapo.rewards.math_process:check_math",
    },
)
"""The answer checks by name."""

FAST_CHECKS = ("exact", "multiple_choice", "numeric")
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
    """The answer in a text, for example in the last turn of a rollout.

    It is the content of the last ``<answer>...</answer>``; without one, that of the last ``\\boxed{...}``; without
    either, the last line that is not empty, before any tool call.
    """
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    if start >= 0:
        return text[start + len("<answer>") : end].strip()
    boxed = _last_boxed(text)
    if boxed is not None:
        return boxed
    lines = [line.strip() for line in text.partition(TOOL_CALL)[0].splitlines()]
    return next((line for line in reversed(lines) if line), "")


def truths_of(ground_truth: Any) -> list[str]:
    """The accepted answers of a row, whose ground truth is one answer or a list of them."""
    if isinstance(ground_truth, str) or not isinstance(ground_truth, Iterable):
        return [str(ground_truth)]
    return [str(truth) for truth in ground_truth]


def exact(answer: str, truth: str, **_: Any) -> bool:
    """Whether both are equal when case, white space and punctuation at the edges of words are ignored."""
    return normalise(answer) == normalise(truth) != ""


def normalise(text: str) -> str:
    """A text in lower case, words separated by one space, with brackets, quotes and stops at their edges removed."""
    words = unicodedata.normalize("NFKC", text).casefold().split()
    bare = (word.lstrip("\"'`‘“([{<*_").rstrip("\"'`’”)]}>*_.,;:!?") for word in words)
    return " ".join(word for word in bare if word)


def multiple_choice(answer: str, truth: str, *, options: Sequence[str] = (), **_: Any) -> bool:
    """Whether both choose the same option; each may be a letter in any common format, or the text of an option.

    Args:
        answer: the extracted answer.
        truth: the accepted answer.
        options: the texts in order, A first; without them only letters are recognised.
    """
    chosen, correct = choice(answer, options), choice(truth, options)
    return chosen == correct is not None


def choice(text: str, options: Sequence[str] = ()) -> str | None:
    """The letter that a text chooses; None if it is unclear.

    It reads ``C``, ``(C)``, ``C. dog``, ``Answer: C``, and the text of an option.
    """
    letters = [chr(ord("A") + index) for index in range(len(options))] or [chr(code) for code in range(65, 91)]
    texts = [normalise(option) for option in options]
    plain = normalise(text)
    if plain in texts and texts.count(plain) == 1:
        return letters[texts.index(plain)]
    found = _LETTER_ALONE.fullmatch(text) or _LETTER_FIRST.match(text)
    letter = next(filter(None, found.groups())) if found else _stated_letter(text)
    if letter is None:
        first, _, rest = plain.partition(" ")
        letter = next((known for known, option in zip(letters, texts, strict=False) if rest == option != ""), None)
        letter = letter if letter and first == letter.lower() else None
    return letter.upper() if letter and letter.upper() in letters else None


def numeric(answer: str, truth: str, *, tolerance: float = 1e-4, **_: Any) -> bool:
    """Whether the last number of each text is the same within a relative tolerance.

    Thousands separators are read, and ``50%`` equals ``0.5`` as well as ``50``. Where both texts name a unit, the units
    have to be spelled alike; nothing is converted.

    Args:
        answer: the extracted answer.
        truth: the accepted answer.
        tolerance: largest difference, relative to the larger of the two numbers.
    """
    given, correct = _quantity(answer), _quantity(truth)
    if given is None or correct is None:
        return False
    (value, unit), (true, true_unit) = given, correct
    if unit and true_unit and unit != true_unit:
        return False
    pairs = [(value, true)]
    if unit != true_unit and "%" in (unit, true_unit):
        pairs.append((value / 100, true) if unit == "%" else (value, true / 100))
    return any(math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-12) for a, b in pairs)


def math_equal(answer: str, truth: str, seconds: int = 5) -> bool:
    """Whether both are mathematically equal, by math-verify. It works only in the main thread of a process.

    Args:
        answer: the extracted answer.
        truth: the accepted answer.
        seconds: time limit of each of the three steps, two of parsing and one of comparing; without it a tower of
            powers never returns. math-verify sets the limit with SIGALRM, hence the main thread; the check ``math``
            calls this function in a child process, see :mod:`verl_mapo.rewards.math_process`.
    """
    from math_verify import parse, verify

    if exact(answer, truth):
        return True
    gold, given = (parse(_as_latex(text), parsing_timeout=seconds) for text in (truth, answer))
    return bool(gold and given) and verify(gold, given, timeout_seconds=seconds)


def _last_boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start += len("\\boxed{")
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start:place].strip()
    return None


def _stated_letter(text: str) -> str | None:
    """The letter in a sentence such as ``the answer is C``, or the only letter in brackets."""
    stated = _LETTER_STATED.findall(text) or _LETTER_STATED_LAST.findall(text)
    if stated:
        return stated[-1]
    bracketed = set(_LETTER_IN_BRACKETS.findall(text))
    return bracketed.pop() if len(bracketed) == 1 else None


def _quantity(text: str) -> tuple[float, str] | None:
    """The last number of a text and the unit after it in lower case, empty if it has no unit; None without a number."""
    text = text.replace("−", "-")
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return None
    digits = numbers[-1].group().rstrip(",")
    if "," in digits and not _GROUPED.fullmatch(digits):
        return None
    value = float(digits.replace(",", ""))
    unit = _UNIT.match(text, numbers[-1].end()).group(1) or ""
    return (value, unit.lower()) if math.isfinite(value) else None


def _as_latex(text: str) -> str:
    return f"\\boxed{{{text.strip().strip('$')}}}"
