# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The options that an answer to a multiple choice chooses.

As in lmms-eval's ``parse_multi_choice_response`` a letter comes before the text of an option. Where that function takes
the last of several letters, or a random one if there is none, an answer chooses nothing here: with a reward, a model
would learn to write such answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from verl_mapo.rewards.answer_text import claim, normalise, unwrap

_LONGEST = 1_000
"""Characters of the longest unwrapped text in which a letter is looked for."""

_LETTER = r"[(\[\"'*]*([A-Z])(?![A-Za-z0-9])(?!['’*^_=+<>/-]\w)"
_BEFORE = re.compile(
    r"(?:(?:i\s+(?:would\s+|will\s+)?(?:choose|chose|select|pick|go\s+with)|i'd\s+(?:choose|say|go\s+with)|"
    r"it\s+is|it's|so|thus|hence|therefore|both|the|my|options?|choices?|letters?|answers?|is|are)\b[\s:,]*"
    r"|(?:因此|所以|我|故|应该|应当|应|應|本题|正确)?\s*(?:选项|選項|选择|選擇|选|選|是|为)\s*[:,]?\s*)+",
    re.IGNORECASE,
)
_BEHIND = re.compile(
    r"\s*(?:\b(?:is|are)\s+(?:both\s+)?(?:the\s+)?(?:only\s+)?(?:correct|right|true|best)"
    r"(?:\s+(?:answers?|options?|choices?))?|\b(?:options?|choices?)"
    r"|(?:选项|選項|项|項)?\s*(?:都|均)?\s*(?:是|为)?\s*(?:正确|正確|对|對)的?(?:答案|选项)?|选项|選項|项|項|번)\s*$",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[(\[]?([A-Z])(?:[)\].:]+|\s*-(?=\s))\s*|[(\[]([a-z])[)\]]+[.:]?\s*")
_LABELS = re.compile(r"(?<![A-Za-z0-9])(?:\(([A-Z])\)|([A-Z])[).:](?=\s|$))")
_BARE = re.compile(r"([B-HJ-Z])\s+(?=[a-z])|([A-Z])\s*(?=[,;]\s?[^,;\sA-Z]|[一-鿿])")
_SENTENCE = re.compile(r"^(?:(?:[\w' ]{0,60}\s(?:is|are|shows?|says)|it's)\s(?:an?\s|the\s)?|(?:the|an)\s)")
_SEPARATOR = re.compile(r"\s*[,;&\n]\s*(?:and\s+)?|\s+(?:and|et|und|y|e)\s+|\s*[和与與及]\s*|\s+")
_ANOTHER = re.compile(r"\s*(?:[,;/&|]|\b(?:or|and)\b|[或和与及])\s*(?:[(\[]?[A-Z]|[(\[][a-z])(?![A-Za-z0-9'])")
_CONFIRMED = re.compile(
    rf"(?<![A-Za-z0-9])(?:option\s+)?{_LETTER}[)\]\"'*]*\s*(?:is|must\s+be)\s+(?:the\s+)?(?:correct|right|best)"
)
_CHOSEN = re.compile(
    r"(?:(?<![A-Za-z])(?i:options?|choices?|answers?|choose|chose|select|pick|go\s+with|it\s+is|it's|"
    r"(?:must|should|would)\s+be|so|thus|hence|therefore)[\s:,]*(?i:is\s+|option\s+)?"
    rf"|[选選](?:项|項|择|擇)?\s*[:是为]?\s*|答案\s*[是为选]?\s*){_LETTER}"
)
_IN_BRACKETS = re.compile(r"\(([A-Z])\)")
_DENIED = re.compile(
    r"\W*(?:\b(?:is|was|are|does|can|could|seems|looks|would\s+be)\s+(?:\w+\s+)?"
    r"(?:not|wrong|incorrect|false|impossible)\b"
    r"|(?:isn|wasn|doesn|can|couldn)'t\b|cannot\b|or\b|(?:选项|選項|项|項)?是?[不错非]|或)",
    re.IGNORECASE,
)
_LONE = re.compile(r"(?<![A-Za-z0-9'])([B-HJ-Z])(?![A-Za-z0-9'])")
_DENIAL = re.compile(
    r"(?<![a-z])(?:not|no|never|neither|nor|none|cannot|wrong|incorrect|false|unsure|either|or|eliminate|except|"
    r"maybe|perhaps|possibly|might|could)(?![a-z])|n't|[不错非没或]",
    re.IGNORECASE,
)


def choice(text: str, options: Sequence[str] = ()) -> str | None:
    """The letters that a text chooses, in order, such as ``C`` or ``AC``; None if it is unclear.

    It reads ``C``, ``(C)``, ``C. dog``, ``The answer is C because ...``, ``选C``, ``B is correct``, several letters
    (``A, C``; ``A and C``; ``AC``), and the text of one option. ``A or B``, a list of options with their texts, a
    letter with another option's text, and a letter that is only mentioned or denied choose nothing.

    Args:
        text: an answer, wrapped or not.
        options: the texts in order, A first, with or without their letters; without them A to Z are recognised.
    """
    letters = [chr(ord("A") + index) for index in range(min(len(options), 26))] or [chr(65 + i) for i in range(26)]
    texts = _texts(options)
    text = unwrap(text)
    if len(text) > _LONGEST:
        return _option(text, texts, letters)
    return _letters(text, letters) or _option(text, texts, letters) or _labelled(text, texts, letters)


def _texts(options: Sequence[str]) -> list[str]:
    """The normalised texts of options, without their letters if each has its own."""
    labels = [_LABEL.match(option.strip()) for option in options]
    own = [bool(label) and (label[1] or label[2].upper()) == chr(65 + place) for place, label in enumerate(labels)]
    if options and all(own):
        options = [option.strip()[label.end() :] for option, label in zip(options, labels, strict=True)]
    return [normalise(option) for option in options]


def _letters(text: str, letters: list[str]) -> str | None:
    """The letters of a text that names only letters, such as ``(A) and C`` or ``选AC``."""
    text = claim(text)
    text = _BEHIND.sub("", _BEFORE.sub("", text, count=1) if _BEFORE.match(text) else text, count=1).strip()
    if not 0 < len(text) <= 200:
        return None
    parts = [part.strip("()[]{}\"'.:*!") for part in _SEPARATOR.split(text)]
    if len(parts) == 1 and len(parts[0]) > 1 and list(parts[0]) == sorted(set(parts[0])) and parts[0].isupper():
        parts = list(parts[0])
        letters = letters[:10]
    if len(parts) > 1 and not (all(map(str.isupper, parts)) or all(map(str.islower, parts))):
        return None
    named = {part.upper() for part in parts}
    return "".join(sorted(named)) if named <= set(letters) else None


def _option(text: str, texts: list[str], letters: list[str]) -> str | None:
    for form in dict.fromkeys((text, claim(text) if len(text) <= _LONGEST else text)):
        plain = normalise(form)
        for said in (plain, _SENTENCE.sub("", plain)):
            if said and texts.count(said) == 1:
                return letters[texts.index(said)]
    return None


def _labelled(text: str, texts: list[str], letters: list[str]) -> str | None:
    """The letter of ``C. dog`` or ``C dog``, or the only one that a sentence chooses; None if it is unclear."""
    lead = _BEFORE.match(text)
    body = text[lead.end() :] if lead else text
    label = _LABEL.match(body)
    bare = label is None and _BARE.match(body)
    if not (label or bare) and body[1:2].isspace() and normalise(body[2:]) in texts:
        label = re.match(r"([A-Za-z])\s+", body)
    found = label or bare
    if not found:
        return _chosen(text, letters)
    letter = next(filter(None, found.groups())).upper()
    rest = claim(body[found.end() :])
    others = set(_LONE.findall(rest)) & set(letters) - {letter} if bare else set()
    if letter not in letters or others or _ANOTHER.match(body, len(found.group().rstrip(" ,;"))):
        return None
    denied = _DENIED.match(body, found.end())
    return letter if not denied and _agrees(letter, rest, texts, letters) else None


def _agrees(letter: str, rest: str, texts: list[str], letters: list[str]) -> bool:
    """Whether the words after a letter name no other letter and no options instead of its own."""
    labels = {found[1] or found[2] for found in _LABELS.finditer(rest)} & set(letters)
    if labels - {letter}:
        return False
    plain, own = normalise(rest), texts[letters.index(letter)] if texts else ""
    if plain == own:
        return True
    others = [text for text in texts if text and text not in own]
    parts = {normalise(part) for part in re.split(r"[,;/&\n]|\bor\b|\band\b", rest)}
    listed = len(parts & set(texts)) > 1 or sum(f" {other} " in f" {plain} " for other in others) > 1
    return plain not in texts and not listed


def _chosen(text: str, letters: list[str]) -> str | None:
    """The only letter that a sentence calls correct, chooses, or has in brackets; None if it is unclear."""
    confirmed = set(_CONFIRMED.findall(text)) & set(letters)
    if confirmed:
        return confirmed.pop() if len(confirmed) == 1 else None
    said = claim(text)
    if _DENIAL.search(said):
        return None
    chosen = (set(_CHOSEN.findall(said)) or set(_IN_BRACKETS.findall(said))) & set(letters)
    return chosen.pop() if len(chosen) == 1 else None
