# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The single quantity in an answer: one number with its unit.

A text is a quantity only if all of it is understood: each of its words has a class, and the sequence of classes has to
match the grammar :data:`_GRAMMAR`, which is, in words::

    [sentences.] [subject verb | subject : | label] [approximation] number [unit | counted noun] [place]

The verb may be one that is not known (``The map lists 3 countries``) where a unit or a counted noun follows the number.
``5-year-old`` and ``3-storey house`` are 5 years and 3 storeys, ``fifth floor`` is 5 like ``5th`` (``fifth`` alone may
be 1/5), ``50s`` is 50 seconds; ``the 50s`` and ``mid-50s`` are no number. A year or the number of a picture, a table or
their like is context where a word and a number stand beside it: ``In 2015, the value was 3`` is 3.

A word that denies, doubts, compares, offers an alternative or calculates has no place in it, and neither has a second
number. Numbers are read as math-verify reads them, where it reads them: ``1,234`` and ``1 234`` have a thousands
separator, ``3,14`` has a decimal comma, and ``50%`` equals ``50`` as well as ``0.5``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from verl_mapo.rewards.answer_text import claim, takes_back, unwrap
from verl_mapo.rewards.denied_answers import names_another
from verl_mapo.rewards.numerals import digits_for_words
from verl_mapo.rewards.quantity_words import CLASS_OF, UNIT_OF, UNITS

_LONGEST = 300
"""Characters of the longest text in which a quantity is looked for."""

_PLAIN = (
    r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?(?![\d,])"
    r"|\d{1,3}(?:\.\d{3})+,\d+(?!\d)|\d{1,3}(?:\.\d{3}){2,}(?!\.?\d)|\d{1,3}(?: \d{3})+(?:[.,]\d+)?(?! ?\d)"
    r"|\d+,\d+(?![\d,])|\d+(?:\.\d*)?|\.\d+)"
)
_POWER = r"10\s*(?:\^|\*\*)\s*[{(]?\s*(?P<power>[-+]?\d{1,6})(?!\d)\s*[)}]?"
_NUMBER = re.compile(
    rf"(?:(?P<whole>\d+)(?:\s+|(?=\\)))?(?:\\frac\s*(?:\{{\s*(?P<a>[-+]?{_PLAIN})\s*\}}|(?P<a1>\d))\s*"
    rf"(?:\{{\s*(?P<b>{_PLAIN})\s*\}}|(?P<b1>\d))|(?P<c>\d+(?:\.\d+)?)\s*/\s*(?P<d>\d+(?:\.\d+)?))"
    rf"|(?:(?P<mantissa>{_PLAIN})\s*(?:x|×|\*|·|⋅|\\times|\\cdot)\s*)?{_POWER}"
    rf"|(?P<plain>{_PLAIN})(?P<exponent>[eE][-+]?\d{{1,6}}(?![\d.]))?"
)
_SIGNED = re.compile(
    r"(?:^|(?<=[\s:~])|(?<=[㐀-鿿぀-ヿ가-힣]))(?P<sign>[-+]?)\s?"
    r"(?P<currency>us\$|[$€£¥₹₩₽]|(?:usd|eur|gbp|inr|rmb|cny|jpy|rs\.?)(?=\s))?\s?(?P<inner>[-+]?)$"
)
_NUMBER_SIGN = re.compile(r"^(?:No\.|#)\s*(?=\d)")
_EQUALS = re.compile(r"=|≈|\\(?:approx|sim)(?![A-Za-z])")
_ASSIGNED = re.compile(r"(?<![\w.\\^})])([A-Za-z])\s*=\s*([-+]?\d+(?:\.\d+)?)(?![\w.])(?!\s*[\^/*+({-])")
_UNREADABLE = re.compile(r"[<>≤≥≠±≡]|\d\s?\.\.\.|\\(?:ne|neq|leq?|geq?|pm|lt|gt)(?![a-z])")

_SCALES = {
    **{"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12, "dozen": 12},
    **{"lakh": 1e5, "lac": 1e5, "crore": 1e7, "mn": 1e6, "bn": 1e9},
    **{"百": 1e2, "千": 1e3, "万": 1e4, "萬": 1e4, "亿": 1e8, "億": 1e8, "만": 1e4, "억": 1e8},
}
_SCALE = re.compile(
    rf"(?:\s*|-)({'|'.join(word for word in _SCALES if word.isascii())})(?:s(?!\s+of))?(?![^\W_])"
    r"|\s?([百千万萬亿億만억]+)",
    re.IGNORECASE,
)
_SUFFIXES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9}

_LETTERS = frozenset("mgshlLNJWVACFKTBΩмг%°'\"$€£¥₹₩₽") | frozenset(UNITS - {name for name in UNITS if name.isascii()})
_CJK = "㐀-鿿぀-ヿ가-힣"
_CJK_UNITS = "|".join(sorted((name for name in UNITS if re.match(f"[{_CJK}]", name)), key=len, reverse=True))
_NAME = rf"(?:us\$|°\s?[CFK](?![^\W\d_])|{_CJK_UNITS}|[^\W\d_{_CJK}]+|[%°'\"$€£¥₹₩₽])"
_UNIT = re.compile(
    rf"{_NAME}(?:(?<![%°'\"$€£¥₹₩₽])\^?\{{?-?[1-4]\}}?(?!\d))?(?:\s?[/·]\s?{_NAME}(?:\^?[1-4](?!\d))?)?\.?"
)
_AREA = [
    (re.compile(r"\b(?:square|sq\.?|cubic|cu\.?)\s+in\b"), lambda found: found[0][:-2] + "inch"),
    (re.compile(r"\b(?:square\s+|sq\.?\s+|sq(?=(?:ft|mm|cm|km|m|yd|mi)\b))([^\W\d_]+)"), r"\1^2"),
    (re.compile(r"\b(?:cubic\s+|cu\.?\s+|cu(?=(?:ft|mm|cm|m|yd)\b))([^\W\d_]+)"), r"\1^3"),
    (re.compile(r"\s+per\s+"), "/"),
    (re.compile(r"(?:°|\bdegrees?)\s+(celsius|fahrenheit)\b", re.IGNORECASE), r"\1"),
    (re.compile(r"([a-z])\s+squared\b"), r"\1^2"),
]

_FRACTION = re.compile(r"(?:four|fif|six|seven|eigh|nin|ten|eleven|twelf|\w+teen|\w+tie|hundred|thousand|million)ths?")
_PLURAL = re.compile(
    r"\w*(?:[^\W\d_suiSUI]s|people|police|men|children|sheep|fish|deer|cattle|craft|feet|teeth|mice|geese|dice|taxis)"
)
_TOKEN = re.compile(rf"[^\W\d_{_CJK}]+(?:['-][^\W\d_{_CJK}]+)*|[{_CJK}]|[^\s()\"]")
_IN_SIGNS = [
    (re.compile(r"百分之\s*([\d.]+)"), r"\1%"),
    (re.compile(r"(\d+)\s*分之\s*(\d+)"), r"\2/\1"),
    (re.compile(r"(?<![\d.])(\d[\d.,]*)\s*\(\1\)"), r"\1"),
    (re.compile(r'"([\d.,]+)"'), r"\1"),
    (re.compile(r"^(?:on|in|at)\s+(?=the\s+\d+(?:st|nd|rd|th)\b)", re.IGNORECASE), ""),
]
_MINUS = re.compile(r"(?:(?<![^\W_])(?:minus|negative)(?![^\W_])|[负負]|マイナス)\s*(?=[\d.\\])", re.IGNORECASE)
_PERCENT = re.compile(
    r"(?<=[\d.})])[\s-]*(?:per\s?cent(?:age\s+points?)?|pct|prozent|pour\s?cent|por\s?cien(?:to|t)|процент\w*)(?![^\W_])",
    re.IGNORECASE,
)
_DECADE = re.compile(
    r"\d{3}0s(?![^\W_])|\b(?:the|his|her|their|my|our|your|early|mid|late)[\s-]+'?\d+s(?![^\W_])", re.IGNORECASE
)
_COMPOUND = re.compile(r"-([^\W\d_]{2,})(?:-(?=[^\W\d_]))?")
_LATEX_WORD = re.compile(r"\\[A-Za-z]+|[^\w\s'.,:;!?=-]+")
_CONTEXT = (
    r"(?:(?:in|by|during|as\s+of)\s+(?:the\s+)?(?:year\s+)?(?:1\d|20)\d\d|(?:in|on|at|from)\s+(?:the\s+)?(?:fig(?:ure|\.)?"
    r"|image|picture|photo|chart|table|row|column|panel|page|graph|plot|diagram|frame|question|line|floor|room|step)"
    r"\s+\d{1,3})(?![\d.%])"
)
_CONTEXT_FIRST = re.compile(rf"^{_CONTEXT}\s*,?\s+(?=.*\d)(?=.*[^\W\d_])", re.IGNORECASE)
_CONTEXT_LAST = re.compile(rf"(?<=[^\W_]),?\s+{_CONTEXT}$", re.IGNORECASE)
_UNIT_AT_END = re.compile(rf"(?<=[\d$}})\s])\s*({_UNIT.pattern})$")
_SENTENCE_END = re.compile(r"[.!?\n]+(?:\s|$)")
_PAIRS = frozenset(word for word in CLASS_OF if len(word) == 2 and not word.isascii())

_ANY = r"[wvSLTPIGRACcdVE,]"
_GRAMMAR = re.compile(
    rf"(?:{_ANY[:-1]}&]*[.;!?])*"
    rf"(?:{_ANY[:-1]}&K]*[VE](?:w?G)?|{_ANY[:-1]}&K]+:|(?:I?d*[wL]?L|I),?"
    rf"|{_ANY[:-1]}&]+[wSG](?=[dA]*[Nn](?:[UH]|(?:w&)?[wRLTSG]{{0,4}}S|C)))?(?:dLP)?[dA]*"
    rf"(?:[Nn](?:[TLA]|P|[PI][dL]{_ANY}*|E{_ANY}*|Vd*R*[LR]{_ANY}*)?"
    rf"|(?:[Nn](?P<noun>U|H[wRLTSG]{{0,3}}|(?:w&)?[wRLTSG]{{0,4}}S|C[cCVE]*|X|o[wLTG]?)|n(?P<one>[wRTG]{{1,3}}))(?:U?c*A?|,?(?:[TLAR]"
    rf"|[PIGVE]{_ANY}*)))"
)
"""What the classes of a text's words have to be; ``N`` is the number, ``n`` is one of at most 1, ``U`` a unit, and
``H`` a noun joined to the number by a hyphen."""


@dataclass(frozen=True)
class Quantity:
    """One number and its unit.

    Attributes:
        value: the number, with its multiplier; infinite if it is too large for a float.
        unit: the words behind it, units of measurement spelled in one way; ``%`` for a percentage.
    """

    value: float
    unit: frozenset[str]

    @property
    def is_percentage(self) -> bool:
        """Whether the number is a percentage."""
        return "%" in self.unit

    def agrees(self, other: Quantity) -> bool:
        """Whether the units can be the same: one is missing, or the words of one are among those of the other."""
        if self.is_percentage != other.is_percentage:
            return not (other.unit if self.is_percentage else self.unit)
        return self.unit <= other.unit or other.unit <= self.unit

    def equals(self, other: Quantity, tolerance: float) -> bool:
        """Whether the units agree and the values are the same within a relative tolerance; ``50%`` is 50 and 0.5."""
        pairs = [(self.value, other.value)]
        if self.is_percentage != other.is_percentage:
            pairs.append((self.value / 100, other.value) if self.is_percentage else (self.value, other.value / 100))
        finite = math.isfinite(self.value) and math.isfinite(other.value)
        return (
            finite and self.agrees(other) and any(math.isclose(a, b, rel_tol=max(tolerance, 1e-12)) for a, b in pairs)
        )


def quantity(text: str) -> Quantity | None:
    """The only quantity of a text, such as ``about 12 cm`` or ``x = 12``; None if it has none or is not one quantity.

    Read are decimals, fractions (``1/2``, ``\\frac{1}{2}``, ``1 1/2``), powers of ten (``5 x 10^3``, ``5e3``),
    percentages, currencies, numbers in words, and ``million`` and its kin. No unit is converted.
    """
    text, link, why = claim(unwrap(text))
    if link == "not" and not re.search(r"\d", digits_for_words(why)):
        return None
    if not 0 < len(text) <= _LONGEST or _UNREADABLE.search(text) or takes_back(link, why):
        return None
    *sides, last = _EQUALS.split(text)
    if (
        names_another(text)
        or contradicts(text)
        or reassigns(text)
        or any(changes(side) or re.search(r"\d\s*(?:[,;]|\band\b)", side) for side in sides)
    ):
        return None
    text = _with_digits(_NUMBER_SIGN.sub("", last.strip()))
    text = _CONTEXT_FIRST.sub("", text)
    found = _CONTEXT_LAST.search(text)
    if found and re.search(r"\d", text[: found.start()]):
        text = text[: found.start()]
    number = _NUMBER.search(text)
    sign = _SIGNED.search(text[: number.start()].lower()) if number else None
    value = _value(number) if number else None
    if sign is None or value is None or _DECADE.search(text):
        return None
    scale, unit, rest = _behind(text[number.end() :])
    words = [*_classes(text[: sign.start()]), ("n" if abs(value) <= 1 else "N", ""), *unit, *_classes(rest)]
    found = _GRAMMAR.fullmatch("".join(kind for kind, _ in words))
    if found is None:
        return None
    start, end = found.span("noun" if found["noun"] else "one")
    names = [name for kind, name in words[start:end] if kind in "UHwRLTSGc" and name]
    if sign["currency"]:
        names.append(UNIT_OF.get(sign["currency"].rstrip("."), sign["currency"]))
    negative = (sign["sign"] + sign["inner"]).count("-") == 1
    said = Quantity((-value if negative else value) * scale, frozenset(names))
    others = (quantity(part) for part in _SENTENCE_END.split(why)) if link != "not" else ()
    return None if any(other and not said.equals(other, 0.05) for other in others) else said


def changes(behind: str) -> bool:
    """Whether words behind an expression deny, doubt or compare it, offer an alternative, or calculate with it."""
    kinds = [kind for kind, _ in _classes(behind)]
    return "D" in kinds or bool({"K", "M"} & set(kinds[:2]))


def is_changed(before: str) -> bool:
    """Whether the words before an expression, back to a stop or a verb, deny, doubt, compare or calculate with it."""
    kinds = "".join(kind for kind, _ in _classes(_LATEX_WORD.sub(" ", before)))
    clause = re.split(r"[,:.;!?#]", kinds)[-1]
    return bool(re.search("[DKM]", re.split("[VE]", clause)[-1]))


def is_joined(before: str) -> bool:
    """Whether an expression follows the number before it without a verb, a stop or ``so`` between both."""
    numbers = list(re.finditer(r"[\d})]", before))
    between = _classes(_LATEX_WORD.sub(" ", before[numbers[-1].end() :])) if numbers else []
    return bool(between) and all(kind not in "VEL,:.;!?#" for kind, _ in between)


def units_differ(one: str, other: str) -> bool:
    """Whether both texts end in a unit of measurement and the units differ; single letters may be variables."""
    names = [_unit(found[1]) for text in (one, other) if (found := _UNIT_AT_END.search(text))]
    return len(names) == 2 and None not in names and names[0] != names[1] and max(map(len, names)) > 1


def without_unit(text: str) -> str:
    """A text without the unit of measurement at its end: ``12\\pi`` of ``12\\pi cm^2``."""
    for pattern, plain in _AREA:
        text = pattern.sub(plain, text)
    found = _UNIT_AT_END.search(text)
    return text[: found.start()].strip(" $") if found and len(found[1]) > 1 and _unit(found[1]) else text


def contradicts(text: str) -> bool:
    """Whether a text equates two different numbers, as ``1 = 2`` does."""
    sides = [side.strip() for side in _EQUALS.split(text)]
    numbers = [found for side in sides if (found := quantity(side))] if len(sides) > 1 else []
    pairs = zip(numbers, numbers[1:], strict=False)
    return any(one.unit == other.unit and not one.equals(other, 0.05) for one, other in pairs)


def reassigns(text: str) -> bool:
    """Whether a text gives one variable two numbers, as ``x=3 \\implies x=4`` does."""
    given = _ASSIGNED.findall(text)
    return len({(name, float(value)) for name, value in given}) > len({name for name, _ in given})


def _with_digits(text: str) -> str:
    """A text with its words for numbers, minus and percent as signs, and a number repeated in brackets once."""
    text = _MINUS.sub("-", _PERCENT.sub("%", digits_for_words(text)))
    for pattern, plain in _IN_SIGNS:
        text = pattern.sub(plain, text)
    return text


def _classes(text: str) -> list[tuple[str, str]]:
    """The class and the singular of each word and stop of a text; ``#`` is the class of what is not understood."""
    found: list[tuple[str, str]] = []
    for token in _TOKEN.findall(text.replace("\n", ".")):
        word = token.lower()
        if found and found[-1][1] + word in _PAIRS:
            found[-1] = (CLASS_OF[found[-1][1] + word], "")
            continue
        parts = [CLASS_OF.get(part, "M" if _FRACTION.fullmatch(part) else "") for part in (word, *word.split("-"))]
        if word.endswith("n't") or "D" in parts or "M" in parts:
            kind = "D" if word.endswith("n't") or "D" in parts else "M"
        elif word in ",:.;!?&":
            kind = word
        elif not word[0].isalpha():
            kind = parts[0] or "#"
        elif re.match(f"[{_CJK}]", word):
            kind = parts[0] or "c"
        else:
            kind = parts[0] or _kind_of_noun(word)
        if kind == "K" and found and found[-1][1] == "at":
            kind = "D"
        found.append((kind, _singular(word)))
    return found


def _kind_of_noun(word: str) -> str:
    """``S`` for a plural, ``G`` for a word in -ing, ``v`` for a single letter, and ``w`` for any other word."""
    if _PLURAL.fullmatch(word):
        return "S"
    return "v" if len(word) == 1 else "G" if word.endswith("ing") else "w"


def _value(number: re.Match[str]) -> float | None:
    above, below = number["a"] or number["a1"] or number["c"], number["b"] or number["b1"] or number["d"]
    if above is not None:
        top, bottom = float(_decimal(above)), float(_decimal(below))
        whole = float(number["whole"] or 0)
        return None if bottom == 0 or (whole and number["a"] and "-" in number["a"]) else whole + top / bottom
    power = number["power"] or (number["exponent"] or "e0")[1:]
    return float(f"{_decimal(number['plain'] or number['mantissa'] or '1')}e{power}")


def _decimal(digits: str) -> str:
    """A decimal with any separators as Python writes it."""
    digits = digits.replace(" ", "")
    if re.fullmatch(r"[-+]?\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}", digits):
        digits = digits.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3})(?:\.\d+)?", digits):
        digits = digits.replace(",", "")
    return digits.replace(",", ".")


def _behind(text: str) -> tuple[float, list[tuple[str, str]], str]:
    """The multiplier, the unit as a word with its class, and the rest of the text behind a number."""
    scale = 1.0
    if text[:1] in _SUFFIXES and not text[1:2].isalnum():
        scale, text = _SUFFIXES[text[0]], text[1:]
    while found := _SCALE.match(text):
        scale *= math.prod(_SCALES[mark] for mark in ([found[1].lower()] if found[1] else found[2]))
        text = text[found.end() :]
    if ordinal := re.match(r"(?:st|nd|rd|th)(?![^\W_])", text):
        return scale, [("o", "")], text[ordinal.end() :]
    compound = _COMPOUND.match(text)
    if compound and _classes(compound[1])[0][0] not in "DKM":
        return scale, [("H", _unit(compound[1]) or _singular(compound[1].lower()))], text[compound.end() :]
    text = re.sub(r"^\s*\(([^()]*)\)$", r"\1", text.rstrip(" .,;:\n")).strip()
    for pattern, plain in _AREA:
        text = pattern.sub(plain, text)
    if text.lower() == "times":
        return scale, [("X", "")], ""
    found = _UNIT.match(text)
    name = _unit(found.group()) if found else None
    return (scale, [("U", name)], text[found.end() :]) if name else (scale, [], text)


def _unit(written: str) -> str | None:
    """A unit of measurement spelled in one way, such as ``m/s^2``; None if it is none."""
    parts = [re.fullmatch(r"(.+?)(?:\^?\{?(-?\d)\}?)?", part.strip()) for part in re.split("[/·]", written.rstrip("."))]
    first = parts[0][1].replace(" ", "")
    if (len(first) == 1 and (first not in _LETTERS or re.match(r"[A-Z]\d", written))) or not {
        first.lower(),
        _singular(first.lower()),
    } & UNITS:
        return None
    names = [part[1].replace(" ", "").lower() for part in parts]
    spelled = [UNIT_OF.get(name, UNIT_OF.get(_singular(name), _singular(name))) for name in names]
    return "/".join(f"{name}^{part[2]}" if part[2] else name for name, part in zip(spelled, parts, strict=True))


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
