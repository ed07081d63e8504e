# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Where the answer is in a text, and what is left of it when everything around it is removed.

:func:`unwrap` is the one step that every built-in check applies to the answer and to the truth before it compares them.
No function of this module raises an exception, whatever the text is, and each takes time that is linear in its length.
"""

from __future__ import annotations

import functools
import re
import unicodedata

from verl_mapo.rewards.denied_answers import names_answer

MAX_LENGTH = 2_000
"""Characters of the longest answer that is unwrapped. A longer one is compared as it is."""

_TAIL = 4_000
_ROUNDS = 24

_TAG = re.compile(r"<\s*(/?)\s*(?:final_?)?answer\s*>|<\|(?:begin|(end))_of_box\|>", re.IGNORECASE)
_BOX = re.compile(r"(\\(?:boxed|fbox|framebox)\s*\{)|\\[\\{}]|([{}])")
_BETWEEN_BOXES = re.compile(r"(?:[\s,;、，$&]|\\[()\[\]]|\band\b|\bor\b|[和与或])*")

_AFTER = (
    r"\s*(?:[:：=→]|->|\s[-–—]\s|\b(?:is|are|was|(?:would|should|must|seems\s+to|appears\s+to)\s+be)\b(?:\s+that\b)?)"
)
_ENGLISH = (
    r"(?<![^\W_])(?:(?:ans\.?|answers?(?:\s+(?:choice|option))?|(?:correct|right|best|closest|final)\s+(?:option|choice|result))"
    r"(?:,?\s+(?:to|for|from|among|based\s+on|according\s+to|given)\s[^\n.:：]{1,80}?)?"
    r"|(?:option|choice)\s+that\s+(?:best|most\s+\w+|correctly|accurately)\s[^\n.:：]{1,80}?"
    rf"){_AFTER}"
)
_ABROAD = (
    r"(?<![^\W_])(?:antwort|antwoord|respuesta|r[ée]ponse|risposta|resposta|ответ|відповідь|odpowiedź|odpověď|cevap|"
    r"yanıt|jawaban(?:nya)?|đáp\s+án|câu\s+trả\s+lời|jibu|svar(?:et)?|vastaus|răspuns|válasz|απάντηση|"
    r"الإجابة|الجواب|إجابة|उत्तर|উত্তর|ค(?:ำ|\u0e4d\u0e32)ตอบ|תשובה)(?:\s+[^\W\d_]+){0,2}?"
    r"\s*(?:[:：=]|\b(?:es|est|ist|lautet|è|é|is|adalah|là|är|er|هي|है)(?![^\W_])|\s-)"
)
_CJK = (
    r"(?:答案|答え|正解|解答|回答|结果|結果|结论|正确选项|正確選項)(?:选项|選項)?\s*"
    r"(?:应该|应当|应|應該|應|就)?\s*(?:是|为|為|选(?![项择])|選(?![項擇])|は|[:：])+"
    r"|\[(?:答案|解答|正解)\]|【(?:答案|解答|正解)】|(?<![^\W_])(?:答|答曰|解)\s*[:：]"
    r"|(?<![^\W_])(?:최종\s*|올바른\s*)?(?:정답|답변|답)\s*(?:은|는|[:：])"
)
_STATED = re.compile(rf"(?:{_ENGLISH}|{_ABROAD}|{_CJK})[\s:：]*", re.IGNORECASE)
_ALTERNATIVE = re.compile(
    r"(?:\b(?:or|oder|ou|o)\s|[或/]|^.{0,20}(?:\b(?:and|und|et|y)\s|和))\s*(?:the\s|that\s|else\s)*$", re.IGNORECASE
)
_FEW_WORDS = re.compile(r"(?:[^\W\d_]{1,20},? ){0,6}")
_HASHES = re.compile(r"####\s*(?=[-+$\\\d.(]|[A-Z]\W*$)")
_CHATTER = re.compile(
    r"(?:[*_`#~|]+|[-=]{3,}|\$\$|\.+)$|[\W_]*(?:I\s+hope|hope\s+(?:this|that|it)|let\s+me\s+know|feel\s+free)\b",
    re.IGNORECASE,
)
_POLAR_LINE = re.compile(r"\W*(?:yes|no)\W*", re.IGNORECASE)
_SENTENCE_LINE = re.compile(r"\W*[^\W\d_]+,? .*[^\W\d_]\.?")
_CORRECTION = re.compile(
    r"\W*(?:(?:wait|no|hmm+|sorry|oops|actually)(?=\s*(?:[,.:;!?…-]|$))|wait\s+(?:no|i|it)(?![^\W_])"
    r"|(?:correction|or|alternatively|(?:on\s+)?second\s+thoughts?|scratch\s+that|my\s+mistake|i\s+(?:meant|was\s+wrong)"
    r"|actually\s+(?:it|i|the|no))(?![^\W_])|其实|其實|不对|不對|更正|抱歉|等等|或者|或)",
    re.IGNORECASE,
)
_EMPHASISED = re.compile(r"\*\*[^*]+\*\*\.?")
_ITEM = re.compile(r"[A-Za-z](?:$|[)\].:*]{1,4}\s)|\d[\d.,]*$")
_DISPLAY = re.compile(r"\$\$([^$]*)\$\$|\\\[([^\\\]]*(?:\\[^\]\[][^\\\]]*)*)\\\]")

_EXPLAINED = re.compile(
    r"(?:(?<![^\W_])(?P<link>(?i:because|since|as\s+(?:it|the|this|shown|seen|we)|due\s+to|given\s+that|which|"
    r"I\s+hope))(?![^\W_])|(?P<cjk>因为|因為|由于|由於)|(?P<contrast>(?<![^\W_])"
    r"(?i:(?<!is )(?<!are )(?<!was )(?<!were )(?<!do )(?<!does )(?<!did )(?<!can )"
    r"(?<!has )(?<!have )(?<!had )(?<!will )(?<!would )(?<!could )(?<!should )(?<!must )"
    r"(?<!might )(?<!may )not|rather\s+than|instead\s+of)"
    r"(?![^\W_])|而不是|而非|(?<=[,;.\s])不是))"
    r"|[.!?\n]\s?(?=(?:This|That|These|It|Its|It's|They|He|She|The\s+reason|Here|Explanation|Reason|Reasoning|Note|We|"
    r"In\s+the|There|解释|理由|这)(?![^\W_]))",
)
_REASON_FIRST = re.compile(r"^(?:因为|因為|由于|由於)[^.!?\n]*?,\s*(?=所以|因此|故|答案|选|選|应选|應選)")
_TAKEN_BACK = re.compile(
    r"(?<![^\W_])(?:actually|wait|sorry|oops|hmm+|correction|mistake\w*|alternatively|otherwise|if\s+not"
    r"|or\s+else|i\s+meant|"
    r"second\s+thought|wrong\w*|incorrect\w*|false\w*|untrue|unsure|uncertain|unclear|maybe|perhaps|possibly"
    r"|could|might|"
    r"may\s+be|also\s+(?:be|correct|right|possible)|doubt\w*|guess\w*|unlikely|improbable|impossible|invalid"
    r"|(?:is|are)\s+out|no\s+one|nobody|unless|unknown|(?:not|cannot)\s+(?:know|tell|determine|say)|not\W*$"
    r"|instead(?!\s+of)|no\s*(?=[,.;:!]|$)|"
    r"not\s+(?:correct|right|true|sure|certain|the\s+(?:correct|right|answer)))(?![^\W_])"
    r"|n't(?:\W*$|\s+(?:correct|right|true|sure|certain|know|tell|determine|say|the\s+(?:correct|right"
    r"|answer))(?![^\W_]))"
    r"|^\W*(?:no|or|but|nor|yet|however)(?![^\W_])|其实|其實|抱歉|更正|可能|也许|也許|或许|或許|不对|不對|不正确|不确定|错|錯|或者|以外|除了|^\W*[没沒不]",
    re.IGNORECASE,
)
_NOT_THAT = re.compile(
    r"\W*(?:$|(?:an?\s+|the\s+|my\s+)?(?:quite|really|exactly|likely|possible|valid|accurate|at|only|so|it|that"
    r"|this|what|"
    r"enough|yet|even|just|necessarily|always|correct|right|true|sure|certain|answer|final|best|good|known"
    r"|clear)(?![^\W_])"
    r"|.*(?<![^\W_])but(?![^\W_]))",
    re.IGNORECASE | re.DOTALL,
)

_DASHES, _APOSTROPHES, _QUOTES = "‐‑‒–—―−", "‘’ʼ‛", "“”„«»「」『』《》〈〉"
_CHARACTERS = {
    **dict.fromkeys(_DASHES, "-"),
    **dict.fromkeys(_APOSTROPHES, "'"),
    **dict.fromkeys(_QUOTES, '"'),
    **dict.fromkeys("。।۔", "."),
    **dict.fromkeys("、،٬", ","),
    **dict.fromkeys("【〔", "["),
    **dict.fromkeys("】〕", "]"),
    **{"؛": ";", "؟": "?", "٪": "%", "٫": ".", "⁄": "/", "º": "°", "˚": "°", "¿": "", "¡": ""},
}
_PUNCTUATION = str.maketrans(_CHARACTERS)
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe0e\ufe0f\ufeff]")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_FRACTION = re.compile("(?<=\\d)\\s*(?=[¼-¾⅐-⅞])")

_TEXT_MACRO = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|up|normal)?|math(?:rm|bf|it|sf|tt|normal)|mbox|hbox|emph|underline|bm|boldsymbol)"
    r"\s*\{([^{}]*)\}"
)
_LATEX = [
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (
        re.compile(
            r"\\(?:left|right)\s*(?![A-Za-z])\.?|\\(?:displaystyle|textstyle|bigg?[lr]?|Bigg?[lr]?)(?![A-Za-z])"
        ),
        "",
    ),
    (re.compile(r"\{\\(?:bf|it|rm|tt|sf|em)\s([^{}]*)\}"), r"\1"),
    (re.compile(r"\^\s*\{?\s*\\circ(?![A-Za-z])\s*\}?|\\degree(?![A-Za-z])"), "°"),
    (re.compile(r"\{,\}|\\!"), lambda found: "," if found.group() == "{,}" else ""),
    (re.compile(r"(?<!\\)\\(?:[,;:> ]|q?quad(?![A-Za-z]))"), " "),
    (re.compile(r"(?<!\\)\\([%$#&_])"), r"\1"),
    (re.compile(r"(?<!\\)\\[()\[\]]"), ""),
    (re.compile(r"\$\$([^$]*)\$\$"), r"\1"),
    (re.compile(r"(?<!\\)\$(?=\S)([^$\n]*)(?<=\S)\$(?!\d)"), r"\1"),
]
_MARKDOWN = [
    (re.compile(r"<\|\w{1,40}\|>"), ""),
    (re.compile(r"```\w*\s*\n|`+"), ""),
    (re.compile(r"(?<![\w)*])\*\*(?=\S)([^*\n]*)(?<=\S)\*\*(?!\w)"), r"\1"),
    (re.compile(r"(?<![\w)])__(?=\S)([^_\n]*)(?<=\S)__(?!\w)"), r"\1"),
    (re.compile(r"^(?:#{1,6}\s+|[•·‣▪◦*]\s+|-\s+(?![\d.]))"), ""),
]
_JSON = re.compile(
    r"\{\s*[\"'](?:final[_ ]?)?answer[\"']\s*:\s*([\"'][^\"'{}\[\]]*[\"']|\[[^\[\]{}]*\]|[-+\w.]+)\s*,?\s*\}",
    re.IGNORECASE,
)
_OUTER_TAG = re.compile(
    r"<\s*/?\s*(?:(?:final_?)?answer|b|strong|i|em|u|p|div|span|code|center|mark|br|s|think)\s*/?>",
    re.IGNORECASE,
)
_PAIRS = {"(": ")", "[": "]", "{": "}", '"': '"', "'": "'", "*": "*", "_": "_"}
_EMOJI = re.compile("[\u2600-\u27bf\U0001f000-\U0001faff]")
_CROSSES = "✕✖✗✘❌❎❓❔👎🚫⛔🤔🤷"
_COPULA = re.compile(r"(?:です|である|입니다|이에요|예요)$")
_ELLIPSIS = re.compile(r"[\d})]\s?\.{3,}$")
_SPACES = re.compile(r"\s+")


def tagged(text: str) -> str | None:
    """The content of the last closed ``<answer>`` tag; None without one."""
    opened: list[int] = []
    content = None
    for tag in _TAG.finditer(text):
        if not (tag.group(1) or tag.group(2)):
            opened.append(tag.end())
        elif opened:
            content = (opened.pop(), tag.start())
    return None if content is None else text[slice(*content)].strip()


def boxed(text: str) -> str | None:
    """The content of the last closed box, after that of the boxes listed before it; None without a box."""
    open_braces: list[tuple[int, int] | None] = []
    boxes: list[tuple[int, int, int]] = []
    for token in _BOX.finditer(text):
        if token.group(1):
            open_braces.append((token.start(), token.end()))
        elif token.group(2) == "{":
            open_braces.append(None)
        elif token.group(2) and open_braces:
            box = open_braces.pop()
            if box is not None:
                boxes.append((*box, token.start()))
    if not boxes:
        return None
    boxes.sort()
    start, first, last = boxes.pop()
    contents, between = [text[first:last].strip()], ""
    while boxes and boxes[-1][2] < start and _BETWEEN_BOXES.fullmatch(text, boxes[-1][2] + 1, start):
        between += text[boxes[-1][2] + 1 : start]
        start, first, last = boxes.pop()
        contents.append(text[first:last].strip())
    joint = " or " if re.search(r"\bor\b|或", between) else ", "
    return joint.join(dict.fromkeys(reversed(contents)))


def stated_line(text: str) -> str:
    """The last line that introduces an answer, or else the last line; empty if there is none.

    Introductions are ``Answer:``, ``the answer is`` and their like in 30 languages, and ``####``. Without one, a first
    line such as ``C. dog`` before an explanation is the answer, or the only such line if it is bold, and ``No``
    together with the sentence at the end. Lines that are items of one list belong together, and so does a later line
    that corrects the answer (``Wait, it is D``). Farewells such as ``I hope this helps`` are passed over. Only the last
    4,000 characters are read.
    """
    text = _DISPLAY.sub(lambda found: found.group().replace("\n", " "), text[-_TAIL:])
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    while lines and _CHATTER.match(lines[-1]):
        lines.pop()
    for place in range(len(lines) - 1, -1, -1):
        stated = _introduction(lines[place]) or _HASHES.match(lines[place])
        said = lines[place][stated.end() :] if stated else ""
        if said.strip(" *_$.:"):
            return lines[place][: stated.end()] + _corrected([said, *lines[place + 1 :]])
        if stated and place + 1 < len(lines):
            return _corrected(lines[place + 1 :])
    items = [place for place, line in enumerate(lines) if _is_item(line)]
    alone = len(items) == 1 and items[0] < len(lines) - 1 and _EMPHASISED.fullmatch(lines[items[0]])
    alone = alone and not any(takes_back("", line) for line in lines[items[0] + 1 :])
    if alone or (len(lines) > 1 and items[:2] != [0, 1] and items[:1] == [0] and not _is_item(lines[-1])):
        return _corrected(lines[items[0] :])
    if len(lines) > 1 and _POLAR_LINE.fullmatch(lines[0]) and _SENTENCE_LINE.fullmatch(lines[-1]):
        return " ".join(lines)  # what follows may take it back
    return "\n".join(reversed(_list_at_start(lines[::-1]).split("\n")))


@functools.lru_cache(maxsize=1024)
def unwrap(text: str) -> str:
    """A text without what is wrapped around its content.

    Removed are tags, ``\\boxed{}``, ``\\text{}`` and its kin, ``$`` and other LaTeX delimiters, Markdown, introductions
    such as ``The answer is`` or ``答案：``, enclosing brackets and quotes, and stops at the end, unless they are dots
    behind a number (``3...``). Full-width and other variants of a character become the plain one (NFKC; CJK stops,
    dashes, quotes, digits of every script); a raised digit becomes an exponent. Case, inner punctuation and brackets
    around a list stay, and so does a text that consists of wrappers alone. A second call changes nothing.
    """
    if len(text) > MAX_LENGTH:
        return text.strip()
    content = text
    for _ in range(_ROUNDS):
        before, content = content, _unwrap_once(content)
        if content == before:
            stated = _introduction(content)
            content = content[stated.end() :] if stated else content
        if content == before:
            break
    return content or text.strip()


def claim(text: str) -> tuple[str, str, str]:
    """An unwrapped text in three parts: what it claims, the word that joins an explanation to it, and the explanation.

    ``B because it barks`` is ``B``, ``because`` and ``it barks``; ``B, not C`` is ``B``, ``not`` and
    ``C``, where ``not`` stands for every contrast. Both latter parts are empty if a text has no explanation.
    """
    text = _REASON_FIRST.sub("", text, count=1)
    found = _EXPLAINED.search(text)
    if found is None:
        return text, "", ""
    link = "not" if found["contrast"] else found["link"] or found["cjk"] or "."
    return text[: found.start()].rstrip(" ,;.(-\n"), link.lower(), text[found.end() :].strip()


def takes_back(link: str, why: str) -> bool:
    """Whether an explanation, or whatever follows a claim, denies or doubts the claim or offers another one."""
    return bool(_TAKEN_BACK.search(why) or (link == "not" and _NOT_THAT.match(why)))


def normalise(text: str) -> str:
    """The unwrapped text in lower case, its words separated by one space, without quotes and stops at their edges."""
    if len(text) > MAX_LENGTH:
        return " ".join(text.casefold().split())
    folded = unicodedata.normalize("NFKC", unwrap(text).casefold())
    words = re.sub(r"(?<![\d])[,;]|[,;](?!\d)|(?<=\d),(?!\d{3}(?!\d))", " ", folded).split()
    return " ".join(filter(None, map(_without_stops, words)))


def _corrected(lines: list[str]) -> str:
    """The answer in the first lines, in one sentence more with the first later line that corrects it."""
    answer = _list_at_start(lines)
    correction = next((line for line in lines[answer.count("\n") + 1 :] if _CORRECTION.match(line)), None)
    return answer if correction is None else f"{answer.rstrip('. ')}. {correction}"


def _list_at_start(lines: list[str]) -> str:
    """The first line, and those after it if they are items of one list."""
    end = 1
    while end < len(lines) and _is_item(lines[end - 1]) and _is_item(lines[end]):
        end += 1
    return "\n".join(lines[:end])


def _is_item(line: str) -> bool:
    """Whether a line is an item of a list of options or numbers: a letter with or without text, or a number."""
    return _ITEM.match(line.strip(" \t*_`$()[]{}-+•.,;:\"'")) is not None


def _introduction(text: str) -> re.Match[str] | None:
    """The introduction of the answer: one at the start of a text, or else the last; None after ``or``."""
    found = list(_STATED.finditer(text))
    if found and _FEW_WORDS.fullmatch(text, 0, found[0].start()):
        found.append(found[0])
    one = next((one for one in reversed(found) if names_answer(text[: one.start()], one.group())), None)
    if one is None:
        return None
    return None if _ALTERNATIVE.search(text[: one.start()]) else one


def _unwrap_once(text: str) -> str:
    text = _plain_characters(text)
    for find in (tagged, boxed):
        content = find(text)
        text = text if content is None else content
    for _ in range(8):
        text, changes = _TEXT_MACRO.subn(r"\1", text)
        if not changes:
            break
    if found := _JSON.fullmatch(text.strip()):
        text = found[1]
    for pattern, plain in (*_LATEX, *_MARKDOWN):
        text = pattern.sub(plain, text)
    return _bare(_without_tags(text.strip()))


def _is_emoji(character: str) -> bool:
    """Whether a character is an emoji that says nothing against the text beside it."""
    return character not in _CROSSES and bool(_EMOJI.match(character))


def _is_balanced(text: str, opening: str, closing: str) -> bool:
    """Whether brackets around the text enclose one thing: no point or interval, and no bracket that closes earlier."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character == opening) - (character == closing)
        separates = character in ",;" and not re.search(r"[^\W\d_]{2}$", text[max(place - 2, 0) : place])
        if depth < 0 or (depth == 0 and separates):
            return False
    return depth == 0


def _without_stops(word: str) -> str:
    """A word without quotes and stops at its edges; ``5'`` and ``5!`` are not ``5``."""
    word = word.lstrip("\"'").rstrip(".,;:")
    word = _without_marks(word)
    return word if word.rstrip("\"'")[-1:].isdigit() and word.count('"') + word.count("'") == 1 else word.rstrip("\"'")


def _without_marks(text: str) -> str:
    """Without ``!`` and ``?`` behind a word; behind a number or a single letter ``!`` is a factorial."""
    bare = text.rstrip("!?")
    return bare if bare[-1:].isalpha() and (bare[-2:-1].isalpha() or not bare.isascii()) else text


def _plain_characters(text: str) -> str:
    text = _SPACES.sub(lambda found: "\n" if "\n" in found.group() else " ", text)
    if text.isascii():
        return text
    text = _RAISED.sub(_exponent, _FRACTION.sub(" ", _INVISIBLE.sub("", text).translate(_PUNCTUATION)))
    text = unicodedata.normalize("NFKC", text).translate(_PUNCTUATION)
    return re.sub(r"\d", lambda digit: str(unicodedata.decimal(digit.group())), text)


def _exponent(found: re.Match[str]) -> str:
    digits = unicodedata.normalize("NFKC", found.group()).replace("−", "-")
    return f"^{digits}" if len(digits) == 1 else f"^{{{digits}}}"


def _without_tags(text: str) -> str:
    while found := _OUTER_TAG.match(text):
        text = text[found.end() :].lstrip()
    while text.endswith(">") and _OUTER_TAG.fullmatch(text, max(text.rfind("<"), 0)):
        text = text[: text.rfind("<")].rstrip()
    return text


def _bare(text: str) -> str:
    """Without enclosing brackets, quotes and emphasis, and without stops at the edges."""
    while len(text) > 1 and (_is_emoji(text[0]) or _is_emoji(text[-1])):
        text = text[1:].lstrip() if _is_emoji(text[0]) else text[:-1].rstrip()
    text = text.lstrip(":;, \n\t")
    stripped = text if _ELLIPSIS.search(text) else _without_marks(text.rstrip(".,;: \n\t"))
    text = _COPULA.sub("", stripped).strip() or stripped
    closing = _PAIRS.get(text[:1])
    if len(text) > 2 and closing == text[-1]:
        inside = text[1:-1]
        if inside.count(closing) % 2 == 0 if closing == text[0] else _is_balanced(inside, text[0], closing):
            return inside.strip()
    return text.removeprefix("**").removesuffix("**").strip()
