# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The single quantity in an answer: one number with its unit.

A text is a quantity only if all of it is understood: each of its words has a class, and the sequence of classes has to
match the grammar :data:`_GRAMMAR`, which is, in words::

    [sentences.] [subject verb | subject : | label] [approximation] number [unit | counted noun] [place]

A word that denies, doubts, compares, offers an alternative or calculates has no place in it, and neither has a second
number. Numbers are read as math-verify reads them, where it reads them: ``1,234`` and ``1 234`` have a thousands
separator, ``3,14`` has a decimal comma, and ``50%`` equals ``50`` as well as ``0.5``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from verl_mapo.rewards.answer_text import claim, takes_back, unwrap
from verl_mapo.rewards.numerals import digits_for_words

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
_UNREADABLE = re.compile(r"[<>≤≥≠±≡]|\\(?:ne|neq|leq?|geq?|pm|lt|gt)(?![a-z])")

_SCALES = {
    **{"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12, "dozen": 12},
    **{"lakh": 1e5, "lac": 1e5, "crore": 1e7, "mn": 1e6, "bn": 1e9},
    **{"百": 1e2, "千": 1e3, "万": 1e4, "萬": 1e4, "亿": 1e8, "億": 1e8, "만": 1e4, "억": 1e8},
}
_SCALE = re.compile(
    rf"\s*({'|'.join(word for word in _SCALES if word.isascii())})(?:s(?!\s+of))?(?![^\W_])|\s?([百千万萬亿億만억]+)",
    re.IGNORECASE,
)
_SUFFIXES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9}

_ALIASES = {
    "mm": "millimeter millimeters millimetre millimetres 毫米 мм",
    "cm": "centimeter centimeters centimetre centimetres 厘米 公分 см",
    "m": "meter meters metre metres 米 м",
    "km": "kilometer kilometers kilometre kilometres 公里 千米 км",
    "inch": "inches",
    "foot": "feet ft '",
    "mile": "miles mi",
    "mg": "milligram milligrams 毫克",
    "g": "gram grams 克 г",
    "kg": "kilogram kilograms kgs 公斤 千克 кг",
    "pound": "lb lbs pounds £ gbp",
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
    "rupee": "rupees rs inr ₹",
    "cm^2": "平方厘米",
    "m^2": "平方米",
    "cm^3": "立方厘米",
    "m^3": "立方米",
}
_UNIT_OF = {name: unit for unit, names in _ALIASES.items() for name in (unit, *names.split())}
_UNITS = {*_UNIT_OF} | {
    *(
        '% " ₽ ₩ n j w b v a c f k t ω μm µm nm dm ha ms ns hz khz mhz ghz kw mw kwh mv kv ma kj pa kpa kn kb mb gb '
        "tb bit byte px pixel mol cal kcal mph kph kmh rpm fps dpi ppi ppm db lux ton tonne oz ounce gal gallon "
        "yd yard knot cup tbsp tsp week month acre bar atm psi cc unit point pt cent pence kelvin ohm volt "
        "watt newton joule"
    ).split()
}
_LETTERS = frozenset("mgshlLNJWVACFKTBΩмг%°'\"$€£¥₹₩₽") | frozenset(
    _UNITS - {name for name in _UNITS if name.isascii()}
)
_CJK = "㐀-鿿぀-ヿ가-힣"
_CJK_UNITS = "|".join(sorted((name for name in _UNITS if re.match(f"[{_CJK}]", name)), key=len, reverse=True))
_NAME = rf"(?:us\$|°\s?[CFK](?![^\W\d_])|{_CJK_UNITS}|[^\W\d_{_CJK}]+|[%°'\"$€£¥₹₩₽])"
_UNIT = re.compile(rf"{_NAME}(?:\^?\{{?-?[1-4]\}}?(?!\d))?(?:\s?[/·]\s?{_NAME}(?:\^?[1-4](?!\d))?)?\.?")
_AREA = [
    (re.compile(r"\b(?:square|sq\.?)\s+([^\W\d_]+)"), r"\1^2"),
    (re.compile(r"\bcubic\s+([^\W\d_]+)"), r"\1^3"),
    (re.compile(r"\s+per\s+"), "/"),
    (re.compile(r"(?:°|\bdegrees?)\s+(celsius|fahrenheit)\b", re.IGNORECASE), r"\1"),
    (re.compile(r"([a-z])\s+squared\b"), r"\1^2"),
]

_CLASSES = {
    # denies, doubts or offers an alternative
    "D": "not no never nothing nobody neither nor cannot without except excluding but unlike far opposite false "
    "falsely wrong wrongly incorrect incorrectly untrue mistake mistaken mistakes error errors invalid "
    "impossible inaccurate unlikely doubt doubtful deny denies disagree unsure uncertain unclear unknown maybe "
    "perhaps possibly might could may guess guessing or either versus vs than between up upto under over above "
    "below beyond exceed exceeds exceeding upward upwards onward onwards downward downwards tops too if unless "
    "actually wait also ish mindestens höchstens short shy many 不 非 没 沒 無 无 未 否 错 錯 误 誤 假 或 几 幾 "
    "除 至少 至多 最多 最少 最大 最小 超 多于 少于 大于 小于 高于 低于 ない ませ 없 않 이상 이하 미만 초과 o ou "
    "oder oppure или menos moins meno 以上 以下 以内 以內 以外 还是 還是 之间 之間 上下",
    # compares; harmless in a subject, as in `the maximum is`
    "K": "more less fewer greater larger smaller higher lower most least max maximum maximal minimum minimal another "
    "extra additional range ranges bound limit other others best worst",
    # calculates
    "M": "plus minus multiplied divided half halves double triple twice thrice quarter quarters third thirds square "
    "squared cube cubed root power mod modulo factorial sqrt log ln sin cos tan exp pi fold score scores tens "
    "one ones twos threes fours fives sixes sevens eights nines 半 倍 多 根号",
    # joins a subject and its number
    "V": "is was be it's that's there's there're equals equal has have had show shows read reads say says "
    "display displays contain contains total totals measure measures weigh weighs cost costs count counts counted see "
    "sees saw found find give gives make makes get gets got comes amounts become becomes remain remains hold holds "
    "include includes think need needs wear wears reaches indicates hay est es ist sind son sono gibt há 有 是 "
    "为 為 共 计 計 得 第 到 等于 等於 総 총 は 은 는",
    # the same in the plural, also behind a noun
    "E": "are were",
    # approximation
    "A": "about around approximately approx roughly nearly almost circa exactly precisely only just probably likely "
    "now still ~ 大概 大约 大約 约 約 约为 近 左右",
    # label
    "L": "number nr year in room page gate bus platform figure line floor question player exit track lane option "
    "jersey stop seat channel chapter flight apartment level route total so thus hence therefore overall answer "
    "result sum value amount",
    # tail of a measure
    "T": "long wide tall high deep thick old am pm o'clock away apart altogether left remaining",
    # place, or label of a year
    "I": "in",
    # place
    "P": "on at of from with by near behind beside inside outside along across for that who which visible shown seen "
    "present parked sitting standing waiting walking can next",
    # confirms
    "R": "correct right final true",
    # joins
    "&": "and 和 与 與 及",
    # determiner
    "d": "yes the a an to that this these those them my our his her its their all",
    # fits a sentence, no noun
    "v": "as always does lots",
    # counter
    "C": "个 個 只 隻 人 名 位 头 頭 匹 条 條 张 張 本 辆 輛 台 架 棵 朵 件 把 支 枝 根 间 間 座 栋 棟 楼 层 層 页 "
    "頁 号 號 岁 歲 次 种 種 双 雙 对 對 片 杯 瓶 碗 盘 盒 袋 点 點 月 日 时 時 分 枚 冊 歳 つ 개 명 마리 대 권 "
    "살 번",
}

_CLASS_OF = {word: kind for kind, words in _CLASSES.items() for word in words.split()}
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
]
_MINUS = re.compile(r"(?:(?<![^\W_])(?:minus|negative)(?![^\W_])|[负負]|マイナス)\s*(?=[\d.\\])", re.IGNORECASE)
_PERCENT = re.compile(
    r"(?<=[\d.})])\s*(?:per\s?cent(?:age\s+points?)?|pct|prozent|pour\s?cent|por\s?cien(?:to|t)|процент\w*)(?![^\W_])",
    re.IGNORECASE,
)
_DECADE = re.compile(r"\d{3}0s(?![^\W_])|\bthe\s+'?\d+s(?![^\W_])", re.IGNORECASE)
_UNIT_AT_END = re.compile(rf"(?<=[\d$}})\s])\s*({_UNIT.pattern})$")
_SENTENCE_END = re.compile(r"[.!?\n]+(?:\s|$)")
_PAIRS = frozenset(word for word in _CLASS_OF if len(word) == 2 and not word.isascii())

_ANY = r"[wvSLTPIGRACcdVE,]"
_GRAMMAR = re.compile(
    rf"(?:{_ANY[:-1]}&]*[.;!?])*"
    rf"(?:{_ANY[:-1]}&K]*[VE]|{_ANY[:-1]}&K]+:|(?:I?d*[wL]?L|I),?)?(?:dLP)?[dA]*"
    rf"(?:[Nn](?:[TLA]|P|[PI][dL]{_ANY}*|E{_ANY}*|Vd*R*[LR]{_ANY}*)?"
    rf"|(?:[Nn](?P<noun>U|(?:w&)?[wRLTSG]{{0,4}}S|C[cCVE]*|X|oL?)|n(?P<one>[wRTG]{{1,3}}))(?:U?c*A?|,?(?:[TLAR]"
    rf"|[PIGVE]{_ANY}*)))"
)
"""What the classes of a text's words have to be; ``N`` is the number, ``n`` is one of at most 1, and ``U`` a unit."""


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
    if contradicts(text) or any(changes(side) or re.search(r"\d\s*(?:[,;]|\band\b)", side) for side in sides):
        return None
    text = _with_digits(_NUMBER_SIGN.sub("", last.strip()))
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
    names = [name for kind, name in words[start:end] if kind in "UwRLTSGc" and name]
    if sign["currency"]:
        names.append(_UNIT_OF.get(sign["currency"].rstrip("."), sign["currency"]))
    negative = (sign["sign"] + sign["inner"]).count("-") == 1
    said = Quantity((-value if negative else value) * scale, frozenset(names))
    others = (quantity(part) for part in _SENTENCE_END.split(why)) if link != "not" else ()
    return None if any(other and not said.equals(other, 0.05) for other in others) else said


def changes(behind: str) -> bool:
    """Whether words behind an expression deny, doubt or compare it, offer an alternative, or calculate with it."""
    kinds = [kind for kind, _ in _classes(behind)]
    return "D" in kinds or bool({"K", "M"} & set(kinds[:2]))


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
            found[-1] = (_CLASS_OF[found[-1][1] + word], "")
            continue
        parts = [_CLASS_OF.get(part, "M" if _FRACTION.fullmatch(part) else "") for part in (word, *word.split("-"))]
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
    } & _UNITS:
        return None
    names = [part[1].replace(" ", "").lower() for part in parts]
    spelled = [_UNIT_OF.get(name, _UNIT_OF.get(_singular(name), _singular(name))) for name in names]
    return "/".join(f"{name}^{part[2]}" if part[2] else name for name, part in zip(spelled, parts, strict=True))


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
