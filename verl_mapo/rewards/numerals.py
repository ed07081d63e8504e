# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers in words, English up to ninety-nine, ordinals too, and Chinese below 10^12, decimals too, in digits."""

from __future__ import annotations

import re

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_VALUES = dict(zip(_SMALL, range(20), strict=True)) | dict(zip(_TENS, range(20, 100, 10), strict=True))
_UNIT_NOUN = (
    r"(?:years?|months?|weeks?|days?|hours?|minutes?|inch|foot|mile|meter|metre|stor(?:y|ey)|door|seat|person)\b"
)
_ENGLISH = re.compile(
    rf"(?<![\w-])(?!one\s+of\b)(?:({'|'.join(_TENS)})(?:[-\s]"
    rf"({'|'.join(_SMALL[1:10])}))?|({'|'.join(_SMALL)}))(?!\w|-(?!{_UNIT_NOUN}))",
    re.IGNORECASE,
)
_ORDINAL_NAMES = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth"
).split()
_ORDINALS = {name: value for value, name in enumerate(_ORDINAL_NAMES, 1)}
_ORDINALS |= {f"{ten[:-1]}ieth": _VALUES[ten] for ten in _TENS}
_ORDINALS |= {f"{ten}-{one}": _VALUES[ten] + _ORDINALS[one] for ten in _TENS for one in _ORDINAL_NAMES[:9]}
_ORDINAL = re.compile(
    rf"^(?:\D*\b(?:the|on|is)\s+)?({'|'.join(_ORDINALS)})(?=\s+(?!(?:of|parts?|shares?|portions?)\b)[^\W\d_]+\W*$)",
    re.IGNORECASE,
)

_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"两": 2, "兩": 2}
_D = "".join(_DIGITS)[1:]
_CHINESE = re.compile(rf"(?<![\d.])[零〇{_D}十][零〇{_D}十百千万萬亿億]*(?![共起些样樣定般直])")
_DECIMAL = re.compile(rf"(?<![\d.点])([零{_D}十百千万亿]+)点([零{_D}]+)(?![十百千分刻钟半整\d])")
"""A decimal such as ``五点五``; with minutes, a quarter or ten behind the mark it would be a time."""
_SECTION = re.compile(rf"(?:([{_D}])千)?零?(?:([{_D}])百)?零?(?:([{_D}]?)(十))?零?(?:(?<![百千])([{_D}]))?")
_MARKS = {"": 1, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}


def digits_for_words(text: str) -> str:
    """The text with its number words in digits: ``There are twenty-one cars``, ``七个``, ``百分之五十``.

    A Chinese numeral that means several numbers (``三四个``, three or four) or whose last digit leaves its place open
    (``一百二``) stays as it is, and so does ``one of``. An ordinal becomes ``5th`` only where a noun is
    behind it, as in ``the fifth floor``; ``fifth`` alone may be 1/5.
    """
    text = _ENGLISH.sub(lambda found: str(sum(_VALUES[word.lower()] for word in found.groups() if word)), text)
    if found := _ORDINAL.search(text):
        text = f"{text[: found.start(1)]}{_ORDINALS[found[1].lower()]}th" + text[found.end(1) :]
    return text if text.isascii() else _CHINESE.sub(_chinese, _DECIMAL.sub(_decimal, text))


def _decimal(found: re.Match[str]) -> str:
    whole = _CHINESE.sub(_chinese, found[1])
    return f"{whole}.{''.join(str(_DIGITS[digit]) for digit in found[2])}" if whole.isdecimal() else found.group()


def _chinese(found: re.Match[str]) -> str:
    written = found.group().replace("〇", "零")
    if re.fullmatch(f"[零{_D}]{{4}}", written) and "零" in written[1:] or written == "零":
        return "".join(str(_DIGITS[digit]) for digit in written)
    total, smallest = 0, 10**12
    for section, mark in re.findall("([^万萬亿億]+)([万萬亿億]?)", written):
        parts, scale = _SECTION.fullmatch(section), _MARKS[mark]
        if not parts or scale >= smallest or (total and section[0] != "零" and "千" not in section):
            return found.group()
        thousands, hundreds, tens, ten, ones = parts.groups()
        ten_value = 10 * _DIGITS.get(tens or "一", 0) if ten else 0
        value = 1000 * _DIGITS.get(thousands, 0) + 100 * _DIGITS.get(hundreds, 0) + ten_value + _DIGITS.get(ones, 0)
        total, smallest = total + value * scale, scale
    return str(total)
