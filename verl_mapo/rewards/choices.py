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

from verl_mapo.rewards.answer_text import claim, normalise, takes_back, unwrap
from verl_mapo.rewards.denied_answers import names_another
from verl_mapo.rewards.quantities import quantity
from verl_mapo.rewards.yes_no_words import polar_answer

_LONGEST = 1_000
"""Characters of the longest unwrapped text in which a letter is looked for."""

_LETTER = r"[(\[\"'*]*([A-Z])(?![A-Za-z0-9])(?!['’*^_=+<>/-]\w)"
_BEFORE = re.compile(
    r"(?:(?:i\s+(?:would\s+|will\s+)?(?:choose|chose|select|pick|go\s+with)|i'd\s+(?:choose|say|go\s+with)|"
    r"it\s+is|it's|so|thus|hence|therefore|both|the|my|correct|right|best|"
    r"i\s+(?:think|believe|guess)|guess|probably|(?:most\s+)?likely|clearly|definitely|conclusion|result|"
    r"options?|choices?|letters?|answers?|is|are)\b[\s:,]*"
    r"|→\s*|(?:因此|所以|我认为|我觉得|只有|我|故|应该|应当|应|應|本题|正确)?\s*(?:选项|選項|选择|選擇|选|選|是|为)\s*[:,]?\s*)+",
    re.IGNORECASE,
)
_BEHIND = re.compile(
    r"\s*(?:\b(?:is|are)\s+(?:both\s+)?(?:the\s+)?(?:only\s+)?(?:correct|right|true|best)"
    r"(?:\s+(?:answers?|options?|choices?))?|\b(?:options?|choices?)"
    r"|(?:选项|選項|项|項)?\s*(?:都|均)?\s*(?:是|为)?\s*(?:正确|正確|对|對)的?(?:答案|选项)?|选项|選項|项|項|번)\s*$",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[(\[]?([A-Z])(?:[)\].:]+|\s*-(?=\s))\s*|[(\[]([a-z])[)\]]+[.:]?\s*|([a-z])[).:]+\s+")
_BARE = re.compile(r"([B-HJ-Z])\s+(?=[a-z])|([A-Z])\s*(?=[,;]\s?[^,;\sA-Z]|[一-鿿])")
_VERB_OF_OPTION = r"(?:is|are|was|were|shows?|says|reads|(?:appears?|seems?)(?:\sto\sbe)?|looks?(?!\slike))"
_SENTENCE = re.compile(
    rf"^(?:(?:[\w' ]{{0,60}}\s{_VERB_OF_OPTION}|(?:it|that|this|there|here|he|she|they)'(?:s|re)|"
    r"i (?:can )?see)\s(?:(?:"
    r"clearly|definitely|obviously|most likely|probably|likely|really|indeed)\s)?(?:an?\s|the\s)?"
    r"|(?:the|an)\s)"
)
_REASONS = ("because", "since", "due", "given", "因", "由")
"""How a word begins that joins a reason to a claim."""

_NAMES = re.compile(r"(?:(?<![^\W_])(?:is|be|it's|choose|pick|select)|[是为為选選])\W*$", re.IGNORECASE)
_ENDORSED_CJK = re.compile(r"\s*(?:选项|選項|项|項)?\s*(?:才)?\s*(?:是|为)?\s*(?:正确|正確|对|對)")
_AGREED = re.compile(
    r"(?<![^\W_])(?:i\s+(?:think|believe)\s+)?(?:that|this|it)(?:'s|\s+is)\s+(?:right|correct|true)(?![^\W_])",
    re.IGNORECASE,
)
_OF_THE_ANSWER = re.compile(
    r"(?:it|this|that|he|she|they|there|here|i|we|so|the answer|the correct|actually)(?![^\W_])"
)
_CONJUNCTION = re.compile(r"^\s*,?\s*(?:and|but|while|whereas)\s", re.IGNORECASE)
_CLAUSE = re.compile(r"(?<=[.;!\n])|(?=,?\s(?:and|but|while|whereas)\sthe\s)", re.IGNORECASE)
_VERBS = re.compile(
    rf"(?<![^\W_]){_VERB_OF_OPTION}(?![^\W_])|'(?:s|re)(?=\s)|(?<![^\W_])(?:because|since|while|but|and)(?![^\W_])"
)
"""What a sentence that says one thing has once: a verb that joins its subject to an option, or a conjunction."""

_ARTICLE = re.compile(r"^(?:an?|the)\s")
_NUMBERED = re.compile(
    r"(?<![^\W_])(?:options?|choices?|answers?|numbers?|no\.|nr\.?)\s*#?\s*[\w]+\W*$|#", re.IGNORECASE
)
_SEPARATOR = re.compile(
    r"(?<=[)\]])\s*(?=[(\[])|\s*[,;&\n]\s*(?:and\s+)?|\s+(?:and|et|und|y|e)\s+|\s*[和与與及]\s*|\s+"
)
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
    r"|(?:isn|wasn|doesn|can|couldn)'t\b|cannot\b|or\b)|\s*(?:(?:选项|選項|项|項)?是?[不错非]|或)",
    re.IGNORECASE,
)
_MENTION = re.compile(
    r"(?<![A-Za-z0-9'])(?:\(([A-Za-z])\)|(?P<named>(?:angle|points?|vitamin|plan|group|line|figure|type|team|"
    r"class|person|object|region|box)\s+[A-Z]|[∠△]\s*[A-Z])(?![A-Za-z0-9'])|([B-HJ-Z])(?![A-Za-z0-9'])"
    r"|(?i:options?|choices?|answers?)\s+([A-Z])(?![\w'])|(A)(?=[.):,;]|\s*$"
    r"|\s+(?:is|are|was|and|or|fits|matches|works|seems|looks|also|too|could|might|may|would)\b))"
)
_ONE = r"(?:options?\s+|choices?\s+)?\(?[A-HJ-Z]\)?(?![A-Za-z0-9'])"
_MANY = rf"(?:the\s+)?{_ONE}(?:(?:\s*,\s*|\s+)(?:and\s+|or\s+|nor\s+)?{_ONE}){{0,8}}"
_OTHERS = r"(?:the\s+)?other\s+(?:options|choices|answers)\s*[,(:]\s*"
_REST = r"(?:all\s+)?(?:the\s+)?(?:others?|rest|remaining)(?:\s+(?:options?|choices?|answers?|ones))?"
_RULED_OUT = re.compile(
    rf"(?:(?<![\w'])(?i:not|nor|neither|rather\s+than|instead\s+of|unlike)\s+|[而选]?不是|而非|不选|排除)\s*{_MANY}"
    rf"|(?<![\w'])(?:(?i:{_OTHERS})?{_MANY}|(?i:{_REST}))[\s,)]*"
    r"(?:(?i:(?:is|are|was|were|can|does|do|could|would|must|should|has|have)(?:\s+be(?:en)?)?"
    r"\s+(?:all\s+|both\s+|clearly\s+|obviously\s+|easily\s+)?"
    r"(?:wrong|incorrect|false|impossible|excluded|eliminated|discarded|rejected|dismissed|ruled\s+out|not(?!\s+(?:wrong|incorrect|false|excluded)))"
    r"|(?:isn't|aren't|doesn't|don't|can't|cannot|couldn't)(?!\s+(?:be\s+)?(?:wrong|incorrect|false)))(?![\w'])"
    r"|(?:选项|選項|项|項)?(?:都|均)?(?:是)?(?:错|錯|不对|不正确|不是))"
    rf"(?:\s*,?\s*(?i:and|as)\s+(?i:so|neither|nor)\s+(?i:is|are|does|do|can)\s+{_MANY})?"
)
_SAYS = re.compile(
    r"\s*(?:(?:must|would|should|has\s+to)\s+be|is|are|was|were|seems?|looks?|appears?|sounds?|feels?|can|could|should|must"
    r"|may|might|will|would|has|have|had|does|do|did|gets?|got|goes|cannot|fails?|contradicts?|lacks?|makes?|remains?|stays?"
    r"|needs?|deserves?|turns?|[a-z]+n't)(?![^\W_])"
)
_FITS = re.compile(
    r"\s*(?:(?:best|correctly|accurately)\s+)?(?:fits?|match(?:es)?|works?|corresponds?|describes?|agrees?|answers?|it\s+is)(?![^\W_])"
)
_RIGHT = re.compile(
    r"\W*(?:(?:the|my|clearly|definitely|obviously|certainly|most|likely|only|probably|both|to\s+be)\s+)*"
    r"(?:correct|right|best|true|answer|option|choice|one|final|accurate|appropriate|it)(?![^\W_])"
)
_REJECTED = re.compile(
    r"(?<![^\W_])(?:ruled?|rul(?:ing|es)|cross(?:ed|ing)?|strike|struck)\s+(?:(?!out)\S+\s+)?out(?![^\W_])|(?<![^\W_])(?:worst|poor(?:est)?"
    r"|least\s+\w+|implausible|distractor|trap|(?:exclu|elimina|discard|reject|dismiss|contradict|refut|avoid|ignor|skip)\w*)"
    r"(?![^\W_])",
    re.IGNORECASE,
)
_SAYS_BEFORE = r" (?:is|be|it's|are|was|say|choose|mean|answer|rather) (?:an? |the )?"
_SAYS_BEHIND = r" (?:is (?:the )?(?:correct|right|best|answer|also|equally|possible)|fits|matches) "
_NEGATION = re.compile(r"(?<![^\W_])(?:not|no|never|unlike|than|instead|neither|nor)(?![^\W_])|n't|[不没]")
_ALL_OR_NONE = re.compile(r"(?<![^\W_])(?:none(?=\W*$|\s+of\s)|all\s+of\s+the\s+above)", re.IGNORECASE)
_TWICE = re.compile(r"\W*not(?![^\W_])\W*$")
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
    letters = [chr(65 + index) for index in range(min(len(options), 26) or 26)]
    texts = _texts(options)
    text = unwrap(text)
    if len(text) > _LONGEST:
        return _option(text, texts, letters)
    said, link, why = claim(text)
    whole = _own_label(text, texts, letters) or (_option(text, texts, letters) if link else None)
    chosen = whole or _read(said, texts, letters)
    if link == "":
        return chosen
    after = f"not {why}" if link == "not" else why
    named = _own_label(said, texts, letters) is not None
    return chosen if chosen and (whole or _stands(chosen, link, after, texts, letters, named)) else None


def _read(text: str, texts: list[str], letters: list[str]) -> str | None:
    """The letters of a claim; an option's text of several characters, such as ``AC``, is no list of letters."""
    plain = normalise(text)
    if len(plain) > 1 and plain in texts:
        chosen = _option(text, texts, letters) or _letters(text, letters)
    else:
        chosen = _letters(text, letters) or _option(text, texts, letters)
    return chosen or _labelled(text, texts, letters)


def _texts(options: Sequence[str]) -> list[str]:
    """The normalised texts of options, without their letters if each has its own."""
    labels = [_LABEL.match(option.strip()) for option in options]
    own = [bool(label) and (label[1] or label[2] or label[3]).upper() == chr(65 + i) for i, label in enumerate(labels)]
    if options and all(own):
        options = [option.strip()[label.end() :] for option, label in zip(options, labels, strict=True)]
    return [normalise(option) for option in options]


def _letters(text: str, letters: list[str]) -> str | None:
    """The letters of a text that names only letters, such as ``(A) and C`` or ``选AC``."""
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
    """The letter of the option that a text consists of, also behind ``The car is``, or of a ``Yes, ...``.

    An article before the option's text is ignored, in the text behind a verb and in the options. A number is the option
    with the same quantity, such as ``There are 3 dogs`` for ``3``.
    """
    plain = normalise(text)
    lead = _SENTENCE.match(plain)
    if lead and lead.group().strip() not in ("the", "an"):
        before = lead.group()
        several = len(_VERBS.findall(before)) > 1 or any(f" {one} " in f" {before}" for one in texts if one)
        unclear = several or _LABEL.match(text) or _BARE.match(text) or _DENIAL.search(before) or names_another(before)
        lead = None if unclear else lead
    bare = [_ARTICLE.sub("", one) for one in texts]
    for said, known in (
        (plain, texts),
        (plain[lead.end() :] if lead else plain, texts),
        (plain[lead.end() :] if lead else plain, bare),
        (plain.removeprefix("a ") if text.startswith("a ") else "", bare),  # a capital may be the letter of an option
    ):
        if said and known.count(said) == 1:
            return letters[known.index(said)]
    return _polar(text, texts, letters) or _counted(text, texts, letters)


def _polar(text: str, texts: list[str], letters: list[str]) -> str | None:
    """The letter of the option that ``Yes, it is`` or ``No, it is not`` means; None if the sentence does not agree."""
    word, said = polar_answer(text)
    letter = letters[texts.index(word)] if word and texts.count(word) == 1 else None
    return letter if letter and _stands(letter, "", said, texts, letters) else None


def _counted(text: str, texts: list[str], letters: list[str]) -> str | None:
    """The letter of the only option with the same quantity as a text without letters of options."""
    if _LABEL.match(text) or _NUMBERED.search(text) or _mentioned(text, letters):
        return None
    said = quantity(text)
    same = [
        letter
        for letter, one in zip(letters, map(quantity, texts), strict=False)
        if said and one and said.equals(one, 1e-9)
    ]
    return same[0] if len(same) == 1 else None


def _own_label(text: str, texts: list[str], letters: list[str]) -> str | None:
    """The letter of a label that is followed by the whole text of its own option, whatever that text says."""
    label = _LABEL.match(text)
    letter = next(filter(None, label.groups())).upper() if label else None
    own = letter in letters and texts and texts[letters.index(letter)]
    return letter if own and normalise(text[label.end() :]) == own else None


def _labelled(text: str, texts: list[str], letters: list[str]) -> str | None:
    """The letter of ``C. dog`` or ``C dog``, or the only one that a sentence chooses; None if it is unclear."""
    lead = _BEFORE.match(text)
    body = text[lead.end() :] if lead else text
    inside = re.match(r"([A-Z])\s+\(([^()]*)\)", body)
    if inside and normalise(inside[2]) in texts[ord(inside[1]) - 65 :][:1]:
        body = f"{inside[1]}. {inside[2]}{body[inside.end() :]}"  # ``C (blue)``
    label = _LABEL.match(body)
    bare = label is None and _BARE.match(body)
    if not (label or bare) and body[1:2].isspace() and normalise(body[2:]) in texts:
        label = re.match(r"([A-Za-z])\s+", body)
    found = label or bare
    if not found:
        chosen = _chosen(text, letters)
        beside = _option(_IN_BRACKETS.sub(" ", text).strip(), texts, letters)  # as in ``dog (C)``
        return chosen if beside in (None, chosen) else None
    letter = next(filter(None, found.groups())).upper()
    if letter not in letters or _ANOTHER.match(body, len(found.group().rstrip(" ,;"))):
        return None
    if _DENIED.match(body, found.end()):
        return _chosen(text, letters)
    if _own_label(body, texts, letters):
        return letter
    rest = body[found.end() :]
    own = texts[letters.index(letter)] if texts else ""
    says = _SAYS.match(rest)
    if not own or not f"{normalise(rest)} ".startswith(f"{own} "):
        if says and not _RIGHT.match(rest, says.end()) and normalise(rest[says.end() :]) not in texts:
            return None
        if bare and bare[1] and not says and not _FITS.match(rest):
            return None
    return letter if _stands(letter, "", rest, texts, letters) else None


def _stands(letter: str, link: str, rest: str, texts: list[str], letters: list[str], confirmed: bool = False) -> bool:
    """Whether what follows a letter or an option leaves it chosen: it takes nothing back and claims no other option.

    A letter that its own option's text confirms may be followed by texts of others, unless they are claimed. A number
    among others, as in ``There are 2 men and 3 women``, claims no option.

    Args:
        letter: the letter.
        link: the word before ``rest``, see :func:`verl_mapo.rewards.answer_text.claim`.
        rest: what follows.
        texts, letters: of the options.
        confirmed: whether the option's text stands before ``rest``; it may also begin it.
    """
    own = texts[letters.index(letter)] if texts and letter in letters else ""
    plain = normalise(rest)
    if own and plain == own:
        return True
    if own and plain.startswith(f"{own} "):
        if plain in texts:  # another option, which begins with the text of this one
            return False
        confirmed = True
        rest = re.sub(rf"^\W*{re.escape(own)}(?!\w)", " ", rest, count=1, flags=re.IGNORECASE)
        if _DENIED.match(rest):
            return False
    if own and f" {own} " in f" {plain} ":
        rest = _about_others_left_out(rest, own, letters)
    left = _RULED_OUT.sub(" ", rest)
    if link == "not" and left != rest:
        link = "" if not re.search(r"\bbut\b", left) else link
    if takes_back(link, left.removeprefix("not ")) or (link == "not" and _TWICE.match(left)):
        return False
    left = _AGREED.sub(" ", _own_texts_left_out(left, texts, letters))
    mentioned = _mentioned(left, letters, endorsed=link.startswith(_REASONS))
    if mentioned - set(letter) or _REJECTED.search(left):
        return False
    sentences = re.split(r"(?<=[.;!?\n])\s+", left)
    if own and any(_counted(one, texts, letters) not in (None, letter) for one in sentences):
        return False
    others = [one for one in texts if one and one not in own and quantity(one) is None]
    parts = {normalise(part) for part in re.split(r"[,;:/&.\n]|\bor\b|\band\b", left)} - {""}
    said = f" {normalise(left)} "
    named = [other for other in others if f" {other} " in said and not confirmed]
    known = "|".join(map(re.escape, others))
    claims = known and re.search(rf"{_SAYS_BEFORE}(?:{known}) | (?:{known}){_SAYS_BEHIND}", said)
    if own and re.search(rf"(?:not|n't|no|never|不是|没有) ?(?:an? |the )?{re.escape(own)} ", said):
        return False
    if texts and _ALL_OR_NONE.search(left):
        return False
    if named and f" {own} " not in said and not _NEGATION.search(said):
        return False
    return not parts & (set(texts) - {own}) and len(named) <= 1 and not claims


def _about_others_left_out(text: str, own: str, letters: list[str]) -> str:
    """Clauses without those that say of another thing what it is, such as ``The bus behind it is red``.

    The first clause stays, for it may go on with the option's text, and so does one that has the text of the option.
    """

    def of_another(clause: str) -> bool:
        plain = normalise(_CONJUNCTION.sub("", clause))
        about = _OF_THE_ANSWER.match(plain) or _mentioned(clause, letters) or f" {own} " in f" {plain} "
        denies = takes_back("", plain) or re.search(_SAYS_BEHIND, f" {plain} ")
        return bool(_SENTENCE.match(plain)) and not (about or denies)

    first, *clauses = _CLAUSE.split(text)
    return " ".join([first, *(clause for clause in clauses if not of_another(clause))])


def _own_texts_left_out(text: str, texts: list[str], letters: list[str]) -> str:
    """A text without what it says of options by their letters, such as ``B is red``."""
    known = "|".join(map(re.escape, filter(None, texts)))
    if not known:
        return text
    letter, article = rf"(?<![A-Za-z0-9])\(?[{''.join(letters)}]\)?", r"(?i:an?\s+|the\s+)?"
    return re.sub(rf"{letter}\s+(?:is|says|shows|reads|means)\s+{article}(?i:{known})(?!\w)", " ", text)


def _mentioned(text: str, letters: list[str], endorsed: bool = False) -> set[str]:
    """The letters of options that a text mentions; ``angle C`` and the article ``A`` are none.

    Args:
        text: the text.
        letters: of the options.
        endorsed: only those of which the text says that they are right.
    """
    found = ((one, next(filter(None, one.groups()))) for one in _MENTION.finditer(text))
    meant = [letter for one, letter in found if not one["named"] and (not endorsed or _is_endorsed(text, one))]
    return {letter.upper() for letter in meant} & set(letters)


def _is_endorsed(text: str, letter: re.Match[str]) -> bool:
    """Whether a text says of a letter in it that it is right, as ``B is right``, ``B fits best`` and ``it is B`` do."""
    says = _SAYS.match(text, letter.end())
    behind = _FITS.match(text, letter.end()) or (says and _RIGHT.match(text, says.end()))
    return bool(behind or _ENDORSED_CJK.match(text, letter.end()) or _NAMES.search(text[: letter.start()]))


def _chosen(text: str, letters: list[str]) -> str | None:
    """The only letter that a sentence calls correct, chooses, or has in brackets; None if it is unclear."""
    said = _RULED_OUT.sub(" ", text)
    if _DENIAL.search(said) or _REJECTED.search(said) or names_another(said):
        return None
    confirmed, chosen = _CONFIRMED.findall(said), _CHOSEN.findall(said) or _IN_BRACKETS.findall(said)
    named = set(confirmed or chosen) & set(letters)
    return named.pop() if len(named) == 1 and _mentioned(said, letters) <= named else None
