# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The rules with which benchmarks and harnesses decide that a reply is right, stated again.

They are here so that numbers can be compared with published ones; what they get wrong is kept. A rule returns None
where the official evaluation asks a language model. Only the text of the last turn is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from verl_mapo.benchmarks.options import LETTERS
from verl_mapo.rewards.answer_text import boxed
from verl_mapo.rewards.answers import extract, find_check, is_right
from verl_mapo.tools.coordinates import Box, iou


@dataclass(frozen=True)
class Target:
    """What a reply is compared with.

    Attributes:
        truth: the letter of an option, or the answer itself.
        options: the texts of the options, A first; empty without options.
        more: the question's facts, see :class:`verl_mapo.benchmarks.base.Question`.
        style: the answer check of the row.
        question: the question's text.
    """

    truth: str
    options: Sequence[str] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    style: str = "exact"
    question: str = ""

    @property
    def letters(self) -> str:
        """The letters of the options."""
        return LETTERS[: len(self.options)]


Rule = Callable[[str, Target], bool | None]
"""Whether a reply is right; None if the official evaluation asks a judge.

A rule may raise :class:`~verl_mapo.rewards.answers.Undecided`, as an answer check may.
"""

_VSTAR = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"^([A-D])\s*[.)\]]*",
        r"(?:THE\s+)?(?:ANSWER|CHOICE|OPTION)(?:\s+IS)?[\s:]+([A-D])",
        r"\(([A-D])\)",
        r"([A-D])\s*(?:\.|\)|])",
        r"(?:^|\s)([A-D])(?:\s|$)",
    )
]
_MME_LEADS = ("The best answer is", "The correct answer is", "The answer is", "The answer", "Best answer:")
_ANSWER_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_WRITTEN_BOX = re.compile(r"<box>\s*\[(\d+),(\d+),(\d+),(\d+)\]\s*</box>")


def vstar_letter(reply: str) -> str | None:
    """The letter that lmms-eval's ``vstar_bench`` reads.

    The first of five patterns that is found in the upper-cased reply counts. The first pattern is a letter from A to D
    at the beginning, so that ``Answer: C`` and ``A dog`` are read as A.
    """
    text = reply.strip().upper()
    found = next(filter(None, (pattern.search(text) for pattern in _VSTAR)), None)
    if found:
        return found[1].upper()
    letters = re.findall("[A-D]", text)
    return letters[0] if len(letters) == 1 else None


def inferred_letter(reply: str, options: Sequence[str]) -> str | None:
    """The letter that VLMEvalKit's ``can_infer`` reads without a judge; None if it asks one.

    A single letter among the last words counts, or else the text of one option in a short reply.
    """
    words = re.sub(r"[.()\[\],:;!*#{}]", " ", reply).split()
    letters = [letter for letter in LETTERS[: len(options)] if letter in words]
    if len(letters) == 1 and words.index(letters[0]) > len(words) - 5:
        return letters[0]
    stated = re.search(r"(?:correct\s+)?answer\s+is\s+\**([A-Z])\**", reply, re.IGNORECASE)
    if stated and stated[1].upper() in LETTERS[: len(options)]:
        return stated[1].upper()
    texts = [option.lower() for option in options]
    if len(reply) > 2 * sum(map(len, texts)):
        return None
    named = [letter for letter, text in zip(LETTERS, texts, strict=False) if text in reply.lower()]
    return named[0] if len(named) == 1 else None


def mme_letter(reply: str) -> str | None:
    """The letter that MME-RealWorld's rule reads: the first of A to E behind known phrases, also inside a word."""
    for lead in _MME_LEADS:
        reply = reply.strip().replace(lead, "")
    found = re.search("[ABCDE]", reply)
    return found.group() if found else None


def leading_letter(reply: str) -> str | None:
    """The first letter of a reply, behind brackets and spaces; ``Blue`` is read as B (BLINK, CV-Bench)."""
    found = re.match(r"[(\s]*([A-Z])[).\s]*", reply.strip(), re.IGNORECASE)
    return found[1].upper() if found else None


def mmmu_letter(reply: str, options: Sequence[str]) -> str | None:
    """The letter that MMMU's ``parse_multi_choice_response`` reads; None where that function draws one at random.

    Letters in brackets count before bare ones, and those before letters with a stop; without any, the options' texts in
    a reply of more than five words. Of several, the last one counts.
    """
    for sign in ",.!?;:'":
        reply = reply.strip(sign)
    text = f" {reply} "
    letters = LETTERS[: len(options)]
    for form, place in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        found = [letter for letter in letters if form.format(letter) in text]
        if found:
            return max(found, key=lambda letter: text.rfind(place.format(letter))) if len(found) > 1 else found[0]
    if len(text.split()) <= 5:
        return None
    named = {letter: text.lower().rfind(option.lower()) for letter, option in zip(letters, options, strict=True)}
    found = [letter for letter in letters if named[letter] >= 0]
    return max(found, key=named.__getitem__) if found else None


def mmmu_open(reply: str, truths: Sequence[str]) -> bool:
    """MMMU's rule for answers without options: a truth is part of a key sentence, or a number in it has its value."""
    said = [form for part in _key_parts(reply) for text in [part, *_numbers(part)] for form in _plain(text)]
    wanted = [form for truth in truths for form in _plain(truth)]
    texts, numbers = [one for one in said if isinstance(one, str)], [one for one in said if not isinstance(one, str)]
    return any(
        any(want in text for text in texts) if isinstance(want, str) else want in numbers for want in wanted
    )  # fmt: skip


_INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")


def _key_parts(reply: str) -> list[str]:
    """The shortest part of each sentence behind a word such as ``is``; the reply itself where there is none."""
    sentences = re.split(r"\.\s(?=[A-Z])|\n", reply.strip().strip(".").lower())
    parts = []
    for place, sentence in enumerate(sentences):
        indicators = (*_INDICATORS, "=") if place == len(sentences) - 1 else _INDICATORS
        behind = [sentence.split(word)[-1].strip() for word in indicators if word in sentence]
        if behind and min(behind, key=len) not in (":", ",", ".", "!", "?", ";", "'"):
            parts.append(min(behind, key=len))
    return parts or [reply.strip().strip(".").lower()]


def _numbers(text: str) -> list[str]:
    found = re.findall(r"-?\b\d{1,3}(?:,\d{3})+\b", text) + re.findall(r"-?\d+(?:\.\d+)?[eE][+-]?\d+", text)
    return found + re.findall(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])", text)


def _plain(text: str) -> list[str | float]:
    """A number rounded to two decimals, or a text in lower case; a single sign with a space, before it or behind it."""
    try:
        return [round(float(text.strip().replace(",", "")), 2)]
    except ValueError:
        plain = text.strip().lower()
        return [f" {plain}", f"{plain} "] if len(plain) == 1 else [plain]


def yes_or_no(reply: str) -> str | None:
    """``yes`` or ``no`` if exactly one of the two words is in a reply (VLMEvalKit's ``YOrN_Extraction``)."""
    words = set(re.sub(r"[^\w\s]", " ", reply.lower()).split())
    said = words & {"yes", "no"}
    return said.pop() if len(said) == 1 else None


def box_iou(reply: str, boxes: Sequence[Box]) -> float:
    """TreeBench's mean IoU: of each true box the best one with the boxes that the model wrote, then the mean.

    Args:
        reply: the text of all turns; boxes are written as ``<box>[x1,y1,x2,y2]</box>`` in whole pixels.
        boxes: the true boxes in the same pixels.

    Returns:
        0 where the model wrote no box, or there are none.
    """
    written = [tuple(map(int, found)) for found in _WRITTEN_BOX.findall(reply)]
    return best_iou([box for box in written if box[0] < box[2] and box[1] < box[3]], boxes)


def best_iou(boxes: Sequence[Box], truths: Sequence[Box]) -> float:
    """The mean over the true boxes of the best IoU with any of some boxes; 0 where either is empty."""
    best = [max((iou(truth, box) for box in boxes), default=0.0) for truth in truths]
    return sum(best) / len(best) if best else 0.0


def last_boxed(reply: str) -> str | None:
    """The content of the last ``\\boxed{}`` of a reply; None without one."""
    return boxed(reply)


def _vstar(reply: str, target: Target) -> bool | None:
    return vstar_letter(reply) == target.truth


def _letter_or_judge(reply: str, target: Target) -> bool | None:
    letter = inferred_letter(reply, target.options)
    return None if letter is None else letter == target.truth


def _mme(reply: str, target: Target) -> bool | None:
    return mme_letter(reply) == target.truth


def _leading(reply: str, target: Target) -> bool | None:
    return leading_letter(reply) == target.truth


def _mmstar(reply: str, target: Target) -> bool | None:
    """MMStar's ``exact_match``: the letter is the first character, or behind ``(``, ``Option`` or ``The answer is``."""
    text, truth = reply.strip().lower(), target.truth.lower()
    return any(text.startswith(lead + truth) for lead in ("", "(", "option ", "the answer is "))


def _realworldqa(reply: str, target: Target) -> bool | None:
    return reply.lower().strip().rstrip(".") == target.truth.lower().strip()


def _pope(reply: str, target: Target) -> bool | None:
    return reply.lower().strip() == target.truth.lower()


def _hallusion(reply: str, target: Target) -> bool | None:
    return yes_or_no(reply) == target.truth.lower()


def _treebench(reply: str, target: Target) -> bool | None:
    found = _ANSWER_TAG.search(reply)
    return (found[1] if found else reply).strip().upper() == target.truth


def _zoombench(reply: str, target: Target) -> bool | None:
    """ZoomBench: ``<answer>``, or what is behind ``Answer:``, or the last three lines; then a judge if not equal."""
    said, truth = _zoom_answer(reply), target.truth
    if re.sub(r"[\s.,;:!?'`]+", "", said).casefold() == re.sub(r"[\s.,;:!?'`]+", "", truth).casefold():
        return True
    letter = re.search(r"\(([A-Fa-f])\)|\b([A-Fa-f])(?:[.):]|\s|$)", said)
    same = bool(target.options and letter and (letter[1] or letter[2]).upper() == truth)
    return True if same else None


def _zoom_answer(reply: str) -> str:
    tagged = _ANSWER_TAG.search(reply)
    if tagged:
        return tagged[1].strip()
    behind = re.search(r"answer\s*:\s*", reply, re.IGNORECASE)
    return reply[behind.end() :].strip() if behind else "\n".join(reply.strip().splitlines()[-3:])


def _o3_bench(reply: str, target: Target) -> bool | None:
    """O3-Bench: the last ``<answer>`` and the last box in it, equal to the truth; a judge otherwise."""
    tagged = _ANSWER_TAG.findall(reply)
    text = tagged[-1].strip() if tagged else reply
    inner = re.findall(r"\\boxed\{(.*?)\}", text, re.DOTALL)
    return True if (inner[-1].strip() if inner else text) == target.truth else None


def _exact_or_judge(reply: str, target: Target) -> bool | None:
    tagged = _ANSWER_TAG.findall(reply)
    said = tagged[-1] if tagged else reply
    return True if said.strip().rstrip(".").lower() == target.truth.strip().rstrip(".").lower() else None


def _mmmu(reply: str, target: Target) -> bool | None:
    if target.options:
        return mmmu_letter(reply, target.options) == target.truth
    return mmmu_open(reply, target.more.get("answers") or [target.truth])


def _mathvista(reply: str, target: Target) -> bool | None:
    """MathVista: replies that need no extraction are normalised and compared; the rest is for the extracting model."""
    said, kind = reply.strip(), target.more.get("answer_type")
    if target.options:
        letter = re.search(r"\(([a-zA-Z])\)", said)
        said = letter[1].upper() if letter and len(said) <= 3 else said
        if said in target.options:
            return LETTERS[target.options.index(said)] == target.truth
        return said == target.truth if said in target.letters and said else None
    try:
        if kind == "integer":
            return str(int(said)) == target.truth
        if kind == "float":
            return str(round(float(said), int(target.more["precision"]))) == target.truth
    except (ValueError, OverflowError):
        return None
    return True if kind == "list" and said == target.truth else None


def _we_math(reply: str, target: Target) -> bool | None:
    """We-Math: the first sign behind the last ``Answer``, without brackets and stops."""
    text = re.sub(r"[<>:.]", "", reply.split("Answer")[-1].strip()).strip()
    return text[:1] == target.truth


def _boxed(reply: str, target: Target) -> bool | None:
    """PAPO, VPPO: the last box equals the truth mathematically; a reply without a box is wrong."""
    from verl_mapo.rewards.math_process import check_math

    said = last_boxed(reply)
    return bool(said) and check_math(said, target.truth)


def _mathvision(reply: str, target: Target) -> bool | None:
    """MATH-Vision: the letter or the value of the right option, in the last box or behind ``answer is``."""
    from verl_mapo.rewards.math_process import check_math

    text = reply.strip()
    for letter in "ABCDE":
        if text.endswith((f" {letter}.", f" ({letter}).")) or text.startswith((f"{letter}\n", f"({letter})\n")):
            text = letter
    said = last_boxed(text)
    if said is None:
        said = re.split("answer (?:is|should be)", text, flags=re.IGNORECASE)[-1].split("\n")[0].split(". ")[0]
    said = said.strip().rstrip(".").lstrip(":").strip("() ")
    truths = [target.truth]
    if target.options and target.truth in target.letters:
        truths.append(target.options[LETTERS.index(target.truth)])
    return is_right(lambda truth: said.lower() == truth.lower() or (bool(said) and check_math(said, truth)), truths)


def _exact(reply: str, target: Target) -> bool | None:
    """The toy: the answer check ``exact`` of its rows; there is no other rule."""
    return find_check("exact")(extract(reply), target.truth, options=(), tolerance=0.0)


def _judge(reply: str, target: Target) -> bool | None:
    return None


RULES: dict[str, Rule] = {
    "vstar": _vstar,
    "letter_or_judge": _letter_or_judge,
    "mme_realworld": _mme,
    "leading_letter": _leading,
    "mmstar": _mmstar,
    "realworldqa": _realworldqa,
    "pope": _pope,
    "hallusion": _hallusion,
    "treebench": _treebench,
    "zoombench": _zoombench,
    "o3_bench": _o3_bench,
    "exact": _exact,
    "exact_or_judge": _exact_or_judge,
    "mmmu": _mmmu,
    "mathvista": _mathvista,
    "we_math": _we_math,
    "boxed": _boxed,
    "mathvision": _mathvision,
    "judge": _judge,
}
"""The official rules by the name that a benchmark gives as ``rule``."""
