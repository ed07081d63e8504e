# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The single quantity in an answer: one number with its unit.

Numbers are read as math-verify reads them, where it reads them: ``1,234`` and ``1 234`` have a thousands separator,
``3,14`` has a decimal comma, and ``50%`` equals ``50`` as well as ``0.5``. Words for zero to ten are numbers, as in the
VQA metric of lmms-eval. An expression, a list, a range, a time or a sentence with two numbers is no quantity; the last
number of a text means nothing.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from verl_mapo.rewards.answer_text import claim, unwrap

_LONGEST = 300
"""Characters of the longest text in which a quantity is looked for."""

_PLAIN = (
    r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?(?![\d,])"
    r"|\d{1,3}(?:\.\d{3})+,\d+(?!\d)|\d{1,3}(?: \d{3})+(?:[.,]\d+)?(?! ?\d)|\d+,\d+(?![\d,])|\d+(?:\.\d*)?|\.\d+)"
)
_POWER = r"10\s*(?:\^|\*\*)\s*[{(]?\s*(?P<power>[-+]?\d{1,6})(?!\d)\s*[)}]?"
_NUMBER = re.compile(
    rf"(?:(?P<whole>\d+)(?:\s+|(?=\\)))?(?:\\frac\s*(?:\{{\s*(?P<a>[-+]?{_PLAIN})\s*\}}|(?P<a1>\d))\s*"
    rf"(?:\{{\s*(?P<b>{_PLAIN})\s*\}}|(?P<b1>\d))|(?P<c>\d+(?:\.\d+)?)\s*/\s*(?P<d>\d+(?:\.\d+)?))"
    rf"|(?:(?P<mantissa>{_PLAIN})\s*(?:x|×|\*|·|⋅|\\times|\\cdot)\s*)?{_POWER}"
    rf"|(?P<plain>{_PLAIN})(?P<exponent>[eE][-+]?\d{{1,6}}(?![\d.]))?"
)
_SIGNED = re.compile(r"(?:^|(?<=[\s(:]))(?P<sign>[-+]?)\s?(?P<currency>us\$|[$€£¥₹₩₽])?\s?(?P<inner>[-+]?)$")

_WORDS = dict(zip("zero one two three four five six seven eight nine ten".split(), range(11), strict=True))
_WORD_FIRST = re.compile(rf"(?:{'|'.join(_WORDS)})(?![\w-])(?!\s+(?:of|or|and)\b)", re.IGNORECASE)
_MINUS = re.compile(r"(?:(?<![^\W_])(?:minus|negative)(?![^\W_])|[负負]|マイナス)\s*(?=[\d.\\])", re.IGNORECASE)
_PERCENT = re.compile(
    r"(?<=[\d.})])\s*(?:per\s?cent(?:age\s+points?)?|pct|prozent|pour\s?cent|por\s?cien(?:to|t)|процент\w*)(?![^\W_])",
    re.IGNORECASE,
)
_SCALES = {
    **{"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12, "dozen": 12},
    **{"hundreds": 1e2, "millions": 1e6, "billions": 1e9, "mn": 1e6, "bn": 1e9},
    **{"百": 1e2, "千": 1e3, "万": 1e4, "萬": 1e4, "亿": 1e8, "億": 1e8, "만": 1e4, "억": 1e8},
}
_SCALE = re.compile(
    rf"\s*({'|'.join(word for word in _SCALES if word.isascii())})(?![^\W_])|\s?([百千万萬亿億만억]+)", re.IGNORECASE
)
_SUFFIXES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9}

_ALIASES = {
    "mm": "millimeter millimeters millimetre millimetres 毫米",
    "cm": "centimeter centimeters centimetre centimetres 厘米 公分",
    "m": "meter meters metre metres 米",
    "km": "kilometer kilometers kilometre kilometres 公里 千米",
    "inch": "inches",
    "foot": "feet ft '",
    "mile": "miles",
    "mg": "milligram milligrams 毫克",
    "g": "gram grams 克",
    "kg": "kilogram kilograms kgs 公斤 千克",
    "pound": "lb lbs pounds £",
    "ml": "milliliter milliliters millilitre millilitres 毫升",
    "l": "liter liters litre litres 升",
    "s": "sec secs second seconds 秒",
    "min": "mins minute minutes 分钟",
    "h": "hr hrs hour hours 小时",
    "day": "days 天",
    "year": "years yr yrs 年",
    "°": "degree degrees deg 度",
    "°c": "celsius ℃ 摄氏度",
    "°f": "fahrenheit",
    "dollar": "dollars usd bucks us$ $ 美元",
    "euro": "euros eur € 欧元",
    "yen": "¥ jpy 円",
    "yuan": "rmb cny 元 块 人民币",
}
_UNIT_OF = {name: unit for unit, names in _ALIASES.items() for name in (unit, *names.split())}
_LETTER_UNITS = frozenset("mgshlLNJWVACFKTBΩ°")
_NO_UNITS = frozenset(
    "pi sqrt root sin cos tan log ln exp mod squared cubed factorial times plus minus over divided or to and more less "
    "fewer greater below above under zero at least most not than between through until i e x y z".split()
)
_UNIT = re.compile(
    r"(?:[^\W\d_]|°)[^\W\d_]*(?:(?:[/·]\s?|-(?=[a-z]))[^\W\d_]+)*\.?(?:\^\{?-?\d\}?|\d(?!\d))?"
    r"(?:/[^\W\d_]+(?:\^?\d)?)?|[%‰°'\"$€£¥]"
)
_AREA = [
    (re.compile(r"\b(?:square|sq\.?)\s+([^\W\d_]+)"), r"\1^2"),
    (re.compile(r"\bcubic\s+([^\W\d_]+)"), r"\1^3"),
    (re.compile(r"\s+per\s+"), "/"),
    (re.compile(r"([a-z])\s+squared\b"), r"\1^2"),
    (re.compile(r"([^\W\d_])\^?\{?(\d)\}?"), r"\1^\2"),
]
_PROSE = re.compile(r"[^\W\d_]|[\s.,;:'\"()~≈$€£-]")
_NUMBER_SIGN = re.compile(r"^(?:No\.|#)\s*(?=\d)")
_CALL = re.compile(r"[^\W_]\($")
_EQUALS = re.compile(r"=|≈|\\(?:approx|sim)(?![A-Za-z])")
_COMPARED = re.compile(
    r"(?<![a-z])(?:not|no|more|less|greater|fewer|under|over|above|below|least|most|between|except|plus|minus|times|"
    r"half|twice|double|or|sqrt|root|log|ln|sin|cos|tan|never|neither|up\s+to|than|without|either|"
    r"maybe|perhaps|unsure)(?![a-z])|n't|不|非|至少|至多|超过|少于|多于|大于|小于|根号|或",
    re.IGNORECASE,
)


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
    percentages, currencies, and ``million`` and its kin. No unit is converted.
    """
    text = claim(unwrap(text))
    if not 0 < len(text) <= _LONGEST or re.search(r"[<>≤≥≠±≡]|\\(?:ne|neq|leq?|geq?|pm|lt|gt)(?![a-z])", text):
        return None
    *sides, last = _EQUALS.split(text)
    if contradicts(text) or any(re.search(r"\d\s*(?:[,;]|\band\b|\bor\b)", side) for side in sides):
        return None
    text = _NUMBER_SIGN.sub("", last.strip())
    text = _WORD_FIRST.sub(lambda found: str(_WORDS[found.group().lower()]), text) if _WORD_FIRST.match(text) else text
    text = re.sub(r"百分之\s*([\d.]+)", r"\1%", _MINUS.sub("-", _PERCENT.sub("%", text)))
    number = _NUMBER.search(text)
    if number is None:
        return None
    before = text[: number.start()]
    sign = _SIGNED.search(before.lower())
    if sign is None and not re.search(r"(?:[一-鿿]|[=~≈])$", before):
        return None
    lead = before[: sign.start()] if sign else before
    value = _value(number)
    behind = _behind(text[number.end() :])
    if value is None or behind is None or _PROSE.sub("", lead) or _COMPARED.search(lead) or _CALL.search(lead):
        return None
    scale, unit = behind
    if sign and sign["currency"]:
        unit |= {_UNIT_OF.get(sign["currency"], sign["currency"])}
    negative = bool(sign) and (sign["sign"] + sign["inner"]).count("-") % 2
    return Quantity((-value if negative else value) * scale, frozenset(unit))


def contradicts(text: str) -> bool:
    """Whether a text equates two different numbers, as ``1 = 2`` does."""
    sides = [side.strip() for side in _EQUALS.split(text)]
    numbers = [found for side in sides if (found := quantity(side))] if len(sides) > 1 else []
    pairs = zip(numbers, numbers[1:], strict=False)
    return any(one.unit == other.unit and not one.equals(other, 0.05) for one, other in pairs)


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
    if re.fullmatch(r"[-+]?\d{1,3}(?:\.\d{3})+,\d+", digits):
        digits = digits.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3})(?:\.\d+)?", digits):
        digits = digits.replace(",", "")
    return digits.replace(",", ".")


def _behind(text: str) -> tuple[float, set[str]] | None:
    """The multiplier and the unit in the text behind a number; None if more than a unit and words follows it."""
    scale = 1.0
    if text[:1] in _SUFFIXES and not text[1:2].isalnum():
        scale, text = _SUFFIXES[text[0]], text[1:]
    while found := _SCALE.match(text):
        scale *= math.prod(_SCALES[mark] for mark in ([found[1].lower()] if found[1] else found[2]))
        text = text[found.end() :]
    text = text.strip()
    for pattern, plain in _AREA:
        text = pattern.sub(plain, text)
    rest = _UNIT.sub("", text)
    words = [word.rstrip(".") for word in _UNIT.findall(text)]
    lowered = [word.lower() for word in words]
    if rest.strip(" .,;:()-\n") or re.match(r"-[^\W\d_](?![^\W\d_])", text) or any(_is_no_unit(word) for word in words):
        return None
    return scale, {"/".join(_UNIT_OF.get(part, _singular(part)) for part in word.split("/")) for word in lowered}


def _is_no_unit(word: str) -> bool:
    single = len(word) == 1 and word.isalpha() and not "一" <= word <= "鿿"
    return word.lower() in _NO_UNITS or (single and word not in _LETTER_UNITS)


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
