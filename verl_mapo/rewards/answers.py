# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Is the answer right? Pure functions from text to a verdict; none of them raises on what a model wrote."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from verl_mapo.rollout.parser import OPEN as TOOL_CALL

_NUMBER = re.compile(r"(?<![\w.^])[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_GROUPED = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?!,)(?:\D.*)?", re.ASCII)
_UNIT = re.compile(r"\s*(%|°\s?[A-Za-z]?|[^\W\d_][^\W_]*(?:[/^][^\W_]+)*)?")
_LETTER_ALONE = re.compile(r"[\W_]*([A-Za-z])[\W_]*")
_LETTER_FIRST = re.compile(r"[\W_]*([A-Z])[*_]*[).:\]][\W_]*(?:\s|$)|\s*\(([A-Za-z])\)")
_SAID = r"\b(?i:answer|option|choice)\b(?i:\s{1,3}is|\s{1,3}option){0,2}[\s:=]{0,3}[^\w\s]{0,4}"
_LETTER_SAID = re.compile(_SAID + r"([A-Z])\b(?!['’])")
_LETTER_SAID_LAST = re.compile(_SAID + r"([a-z])[\W_]*$")
_LETTER_IN_BRACKETS = re.compile(r"\(([A-Z])\)")


def extract(text: str) -> str:
    """The answer in the last turn's text.

    The last ``<answer>...</answer>``; else the last ``\\boxed{...}``; else the last line that is not empty, up to a
    tool call.
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
    """The accepted answers: a row's ground truth is one, or a list of them."""
    if isinstance(ground_truth, str) or not isinstance(ground_truth, Iterable):
        return [str(ground_truth)]
    return [str(truth) for truth in ground_truth]


def exact(answer: str, truth: str) -> bool:
    """Equal but for case, space, and punctuation at the edges of words."""
    return normalise(answer) == normalise(truth) != ""


def normalise(text: str) -> str:
    """Lower case, words separated by one space, brackets, quotes and stops at their edges removed."""
    words = unicodedata.normalize("NFKC", text).casefold().split()
    bare = (word.lstrip("\"'`‘“([{<*_").rstrip("\"'`’”)]}>*_.,;:!?") for word in words)
    return " ".join(word for word in bare if word)


def multiple_choice(answer: str, truth: str, options: Sequence[str] = ()) -> bool:
    """The same choice; both may be a letter in any of its usual dresses, or the text of an option.

    Args:
        options: their texts in order, A first; without them only letters can be told.
    """
    said, right = choice(answer, options), choice(truth, options)
    return said == right is not None


def choice(text: str, options: Sequence[str] = ()) -> str | None:
    """The letter that a reply chooses, None if unclear: ``C``, ``(C)``, ``C. dog``, ``Answer: C``, an option's text."""
    letters = [chr(ord("A") + index) for index in range(len(options))] or [chr(code) for code in range(65, 91)]
    texts = [normalise(option) for option in options]
    plain = normalise(text)
    if plain in texts and texts.count(plain) == 1:
        return letters[texts.index(plain)]
    found = _LETTER_ALONE.fullmatch(text) or _LETTER_FIRST.match(text)
    letter = next(filter(None, found.groups())) if found else _said(text)
    if letter is None:
        first, _, rest = plain.partition(" ")
        letter = next((known for known, option in zip(letters, texts, strict=False) if rest == option != ""), None)
        letter = letter if letter and first == letter.lower() else None
    return letter.upper() if letter and letter.upper() in letters else None


def numeric(answer: str, truth: str, tolerance: float = 1e-4) -> bool:
    """The same number within a relative tolerance; the last number of each text counts.

    Thousands separators are read, ``50%`` equals ``0.5`` as well as ``50``, and units have to be spelled alike where
    both texts name one: nothing is converted.
    """
    said, right = _quantity(answer), _quantity(truth)
    if said is None or right is None:
        return False
    (value, unit), (true, true_unit) = said, right
    if unit and true_unit and unit != true_unit:
        return False
    pairs = [(value, true)]
    if unit != true_unit and "%" in (unit, true_unit):
        pairs.append((value / 100, true) if unit == "%" else (value, true / 100))
    return any(math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-12) for a, b in pairs)


def math_equal(answer: str, truth: str, seconds: int = 5) -> bool:
    """Mathematically equal, by math-verify.

    Args:
        seconds: limit of each of its three steps, without which a tower of powers never returns. SIGALRM keeps it,
            so that this works in a main thread only; see :class:`verl_mapo.rewards.math_process.MathProcess`.
    """
    from math_verify import parse, verify

    if exact(answer, truth):
        return True
    gold, said = (parse(_as_latex(text), parsing_timeout=seconds) for text in (truth, answer))
    return bool(gold and said) and verify(gold, said, timeout_seconds=seconds)


RULES: dict[str, Callable[..., bool]] = {
    "exact": exact,
    "multiple_choice": multiple_choice,
    "numeric": numeric,
    "math": math_equal,
}
"""The comparisons by the name they have in ``reward.description_alignment.outcome`` and ``reward_model["style"]``."""


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


def _said(text: str) -> str | None:
    """The letter of ``the answer is C`` and the like, or the only one in brackets."""
    said = _LETTER_SAID.findall(text) or _LETTER_SAID_LAST.findall(text)
    if said:
        return said[-1]
    bracketed = set(_LETTER_IN_BRACKETS.findall(text))
    return bracketed.pop() if len(bracketed) == 1 else None


def _quantity(text: str) -> tuple[float, str] | None:
    """The last number of a text and the unit behind it, lower case, empty where there is none."""
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
