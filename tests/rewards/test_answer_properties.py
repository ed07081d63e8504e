# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What holds for every answer: wrappers change no verdict, checks are symmetric, and no text raises or takes long."""

import string
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from math_verify import parse, verify

from verl_mapo.rewards.answer_text import MAX_LENGTH, unwrap
from verl_mapo.rewards.answers import FAST_CHECKS, Undecided, choice, extract, find_check, math_equal, numeric
from verl_mapo.rewards.math_process import cpu_limit

PATIENCE_S = 60
"""Time limit of each step of math-verify, so that a busy machine changes no verdict."""

OPTIONS = ["left lane", "right lane", "5 cm", "$x^2$"]

WRAPPERS = [
    "<answer>{}</answer>",
    "<answer>\n{}\n</answer>",
    "<think>A or B, 1 or 2?</think>\n{}",
    r"\boxed{{{}}}",
    r"So it must be $\boxed{{{}}}$.",
    r"\text{{{}}}",
    r"\mathrm{{{}}}",
    r"\textbf{{{}}}",
    "${}$",
    "$${}$$",
    r"\({}\)",
    "\\[\n{}\n\\]",
    "**{}**",
    "`{}`",
    "_{}_",
    "({})",
    "“{}”",
    "'{}'",
    "{}.",
    "{}。",
    " {}\n\n",
    "\u200b{}\ufeff",
    "Answer: {}",
    "**Answer:** {}",
    "The answer is {}",
    "Therefore, the final answer is: {}",
    "答案：{}",
    "答案是{}。",
    "Ответ: {}",
    "La réponse est {}",
    "<b>{}</b>",
    "### {}",
    "{}<|im_end|>",
    "First I look at the sign.\n\n{}",
]
LAST_LINE = [wrapper for wrapper in WRAPPERS if "\n" not in wrapper]
PAIRS = {
    "exact": (["red", "Stop sign", "A4", "14:05", "蓝色"], "green"),
    "multiple_choice": (["B", "AC"], "D"),
    "numeric": (["7", "-3", "1/2", "1234.5", "50%", "12 cm", "2e-5"], "8"),
    "math": (["7", "x^2+1", "(1, 2)", "B"], "x^3"),
}
CASES = [(style, truth, wrong) for style, (truths, wrong) in PAIRS.items() for truth in truths]


def full_width(text: str) -> str:
    """The text with full-width letters, digits and signs."""
    return "".join(chr(ord(character) + 0xFEE0) if "!" <= character <= "~" else character for character in text)


def right(style: str, text: str, truth: str) -> bool:
    answer = extract(text)
    if style == "math":
        with cpu_limit(PATIENCE_S):
            return bool(answer) and math_equal(answer, truth)
    return bool(answer) and find_check(style)(answer, truth)


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(CASES), st.lists(st.sampled_from(LAST_LINE), max_size=4), st.sampled_from(WRAPPERS), st.booleans()
)
def test_wrappers_change_no_verdict(case, lines, last, wide):
    style, truth, wrong = case
    for said, verdict in ((truth, True), (wrong, False)):
        text = full_width(said) if wide and not said.isalpha() and "\\" not in said else said
        for wrapper in (*lines, last):
            text = wrapper.format(text)
        assume("..." not in text.replace("。", "."))
        assert right(style, text, truth) is verdict, text


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([case for case in CASES if case[0] != "math"]), st.lists(st.sampled_from(LAST_LINE), max_size=3))
def test_wrappers_of_the_truth_change_no_verdict(case, wrappers):
    style, truth, wrong = case
    wrapped = truth
    for wrapper in wrappers:
        wrapped = wrapper.format(wrapped)
    assume("..." not in wrapped.replace("。", "."))
    assert find_check(style)(truth, wrapped), wrapped
    assert not find_check(style)(wrong, wrapped), wrapped


PIECES = st.lists(
    st.one_of(
        st.text(max_size=5),
        st.characters(categories=["Cs", "Nd", "No", "Mn", "Po"]),
        st.sampled_from(
            [*"ABC,.;:()[]{}$*_`'\"-+=/%^\\!?<>|&#~°½²", "1", "23", "4.5", "and", "or", "not", "is", "the"]
        ),
        st.sampled_from(
            ["<answer>", "</answer>", r"\boxed{", r"\text{", r"\frac{1}{2}", "答案：", "选", "或", "。", "５", "Ａ"]
        ),
        st.sampled_from(
            ["Answer: ", "the answer is ", "because ", "\n", " ", "cm", "million", "</think>", "<think>", "10^3"]
        ),
    ),
    max_size=12,
).map("".join)


@settings(max_examples=200, deadline=None)
@given(PIECES, PIECES, st.lists(PIECES, max_size=5))
def test_no_text_raises_and_checks_are_symmetric(answer, truth, options):
    assert isinstance(extract(answer), str)
    for name in FAST_CHECKS:
        check = find_check(name)
        one = check(answer, truth, options=options, tolerance=1e-4)
        other = check(truth, answer, options=options, tolerance=1e-4)
        assert one is other, name
    assert unwrap(unwrap(answer)) == unwrap(answer)
    assert set(choice(answer, options) or "") <= set("ABCDE"[: len(options)] or string.ascii_uppercase)


@settings(max_examples=40, deadline=None)
@given(PIECES, PIECES)
def test_math_takes_any_text(answer, truth):
    try:
        with cpu_limit(2):
            assert isinstance(math_equal(answer, truth), bool)
    except Undecided as error:
        assert "CPU time" in str(error)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=2, max_size=6, unique=True),
    st.sampled_from([", ", " ", "; ", " or ", " and ", "\n", " | "]),
)
def test_list_of_numbers_equals_none_of_them(numbers, separator):
    text = separator.join(map(str, numbers))
    for number in numbers:
        for form in (text, f"The answer is {text}.", f"<answer>{text}</answer>", f"\\boxed{{{text}}}"):
            assert not right("numeric", form, str(number)), form
            assert not right("math", form, str(number)), form


@settings(max_examples=200, deadline=None)
@given(
    st.permutations("ABCD"),
    st.sampled_from([", ", " ", "; ", " or ", "/", "\n", ". ", ") ", " and "]),
    st.integers(2, 4),
)
def test_list_of_options_equals_none_of_them(letters, separator, count):
    listed = separator.join(letters[:count])
    texts = "\n".join(f"{letter}. {OPTIONS[ord(letter) - 65]}" for letter in letters[:count])
    for form in (listed, texts, texts.replace("\n", " "), f"The answer is {listed}", f"<answer>{texts}</answer>"):
        for letter in letters[:count]:
            answer = extract(form)
            assert not find_check("multiple_choice")(answer, letter, options=OPTIONS), form


@settings(max_examples=200, deadline=None)
@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["{!r}", "{:.17e}", "{:+.17g}", "${!r}$", "x = {!r}"]),
)
def test_number_equals_its_own_text_and_not_its_negative(value, form):
    assert numeric(form.format(value), repr(value), tolerance=1e-9)
    if value:
        assert not numeric(form.format(-value), repr(value), tolerance=1e-9)


EXPRESSIONS = ["13", "-7/3", "0.25", "1,234", "50", "x^2+1", "(1,2)", "[0,1)", "2^{10}"]
EXPRESSIONS += [r"\frac{3}{4}", r"2\sqrt{3}", r"25\pi"]
FRAMES = [
    "{}",
    "${}$",
    "Answer: {}",
    "Answer: ${}$",
    "The answer is {}",
    "The answer is ${}$.",
    r"\boxed{{{}}}",
    r"Hence $x = \boxed{{{}}}$.",
    "So we get ${}$ as the result.",
    "The final answer is ${}$. I hope it is correct.",
    "The area is {} cm",
    "After 2 steps the value is {}.",
    "We have 3 cats and 2 dogs, so {} in total",
    r"\[{}\]",
    "**{}**",
    "{} units",
    r"{}\text{{ m}}",
]


def verified(gold: str, text: str) -> bool:
    gold, found = (parse(one, parsing_timeout=PATIENCE_S) for one in (gold, text))
    return verify(gold, found, timeout_seconds=PATIENCE_S)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_math_accepts_what_plain_math_verify_accepts(expression):
    lost = []
    for frame in FRAMES:
        text = frame.format(expression)
        plain = any(verified(gold, text) for gold in (expression, f"${expression}$"))
        if plain and not right("math", text, expression):
            lost.append(text)
    assert not lost
    assert not any(right("math", frame.format(expression), "17") for frame in FRAMES)


LONG = [
    *["<answer>", "</answer>", "<think>", "</think>", "<tool_call>", "</tool_call>", "<b>", "</b>", "<|a|>", "<"],
    *[r"\boxed{", r"\text{", r"\(", r"\[", "$", "$$ ", "{", "}", "(", ")", "[", "**", "__", "*", "`", "# ", "'", '"'],
    *["answer ", "answer:", "Answer: A. ", "the answer is ", "answer to ", "or the answer is ", "respuesta x "],
    *["A", "A.", "A, ", "A or ", "(A)", "A\n", "option ", "so ", "I choose ", "not ", "because ", "five ", "million "],
    *["1,", "1 ", "1=", "a1", "-", "- ", "^", "/", "10^", "x10", "½", "²", "٣", ":", " ", "\n", " \n", ".", "!", "="],
    *["选", "答案是", "是 ", "和", "、", "。", "一", "\u200b", "\ud83d"],
]


LONG += [
    "- ",
    "- - ",
    "> ",
    "1. ",
    "~",
    "not B ",
    "A and B are wrong ",
    "the cat is ",
    "No, ",
    "is ",
    "there are ",
    "二",
]
LONG += [
    "1.234",
    "$a$ ",
    "**a** ",
    r"\text{a}",
    r"{\bf a}",
    r"\boxed{1}, ",
    "< answer",
    "This ",
    ". It ",
    r"\[a\]",
    "`a`",
]
LONG += [
    "😀",
    "❌",
    "选A",
    "不是B",
    "0.",
    "^{",
    r"\frac{1}{",
    '{"answer": ',
    "I hope ",
    "cm/",
    "square ",
    "per ",
    "a'",
    "a-",
]


@pytest.mark.parametrize("piece", LONG)
def test_time_of_a_check_grows_no_faster_than_the_answer(piece):
    calls = {"extract": lambda text: extract(text)}
    for name in FAST_CHECKS:
        calls[name] = lambda text, name=name: find_check(name)(text, "C", options=OPTIONS, tolerance=0.0)

    def seconds(call, length: int) -> float:
        text = (piece * (length // len(piece) + 1))[: length - 1] + "b"
        unwrap.cache_clear()
        start = time.process_time()
        call(text)
        return time.process_time() - start

    for name, call in calls.items():
        for length in (MAX_LENGTH // 4, 25_000):
            for _ in range(5):
                short, long = seconds(call, length), seconds(call, 4 * length)
                if long < 0.02 + 8 * short and long < 0.3:
                    break
            else:
                pytest.fail(f"{name} takes {short:.3f} s for {length} characters and {long:.3f} s for {4 * length}")


CHANGING = [
    "wrong",
    "is wrong",
    "is incorrect",
    "or so",
    "or 13",
    "or thirteen",
    "or more",
    "at most",
    "at least",
    "max",
]
CHANGING += [
    "minimum",
    "maximum",
    "and up",
    "upwards",
    "plus",
    "minus one",
    "thirds",
    "tenths",
    "halves",
    "squared",
    "!",
]
CHANGING += [
    "times 3",
    "to 14",
    "- 14",
    "x 6",
    "x6",
    "or6",
    "/ 13 / 14",
    "±1",
    "+",
    "?! 13",
    "not",
    "is not right",
    "maybe",
]
CHANGING += [
    "以上",
    "以下",
    "或13",
    "到13",
    "不对",
    "是错的",
    "倍",
    "多",
    "分之1",
    "ish",
    "but 13",
    "unless 13",
    "is too low",
    "%%",
]
BEFORE = [
    "not",
    "about half of",
    "twice",
    "at least",
    "no more than",
    "under",
    "over",
    "all but",
    "maybe",
    "either",
]
BEFORE += [
    "至少",
    "不是",
    "超过",
    "anything except",
    "I doubt it is",
    "It is false that it is",
    "between 11 and",
    "the root of",
]


@settings(max_examples=300, deadline=None)
@given(
    st.integers(2, 10**6), st.sampled_from([f"{{}} {word}" for word in CHANGING] + [f"{word} {{}}" for word in BEFORE])
)
def test_number_that_its_words_change_is_not_that_number(number, frame):
    for text in (frame.format(number), frame.format(f"{number} apples"), f"The answer is {frame.format(number)}."):
        assert not right("numeric", text, str(number)), text


COUNTED = [
    "{}",
    "{} apples",
    "{} red cars",
    "{} people in the picture",
    "{} of them",
    "{} cm",
    "{} cm long",
    "{} in total",
]
COUNTED += [
    "There are {} apples on the table.",
    "The number of cars is {}",
    "I can see {} dogs.",
    "about {} m",
    "一共有{}个人",
]
COUNTED += [
    "Total: {} boxes",
    "In the picture, there are {} birds",
    "The maximum is {}",
    "图中有{}只红色的猫",
    "x = {}",
    "Room {}",
]
WORDS = {"7": ["seven", "七"], "12": ["twelve", "十二"], "21": ["twenty-one", "二十一"], "50": ["fifty", "五十"]}


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(WORDS)), st.booleans(), st.sampled_from(COUNTED))
def test_counted_things_and_measures_are_their_number(number, in_words, frame):
    spelled = WORDS[number][not frame.isascii()] if in_words else number
    assert right("numeric", frame.format(spelled), number), frame.format(spelled)
    assert not right("numeric", frame.format(spelled), "8")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["C", "C.", "(C)", "C. 5 cm", "Answer: C", "选C"]),
    st.sampled_from([". ", ", ", "\n", "; ", " because ", ". Because ", " (", "。"]),
    st.sampled_from(
        ["no, {}", "actually {}", "it could also be {}", "{} is correct", "wait, {}", "maybe {}", "if not, {}", "or {}"]
        + [
            "{} is right too",
            "I am not sure",
            "this is wrong",
            "应该是{}",
            "也可能是{}",
            "sorry, {}",
            "{} fits as well",
        ]
    ),
    st.sampled_from("ABD"),
)
def test_option_is_not_chosen_where_another_is_claimed_after_it(first, joint, second, other):
    text = first + joint + second.format(other)
    assert choice(text, OPTIONS) != "C", text


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["C", "C.", "(C)", "C. 5 cm", "选C"]),
    st.sampled_from([", not {}", " rather than {}", " because {} is wrong", ". {} is incorrect.", "，因为{}是错误的"]),
    st.sampled_from("BD"),
)
def test_option_stays_chosen_where_others_are_ruled_out_after_it(first, rest, other):
    text = first.rstrip(".") + rest.format(other)
    assert choice(text, OPTIONS) == "C", text


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(
        ["wrong", "incorrect", "worst", "least likely", "other", "rejected", "second best", "naive", "unlikely"]
    ),
    st.sampled_from(["answer", "option", "choice"]),
    st.sampled_from(
        ["The {} {} is {}", "{} {}: {}", "The {} {} is ({}).", "So the {} {} is {}", "The {} {} would be {}"]
    ),
    st.sampled_from(["B", "right lane"]),
)
def test_answer_that_is_called_another_chooses_nothing(adjective, noun, frame, said):
    text = frame.format(adjective, noun, said)
    assert not find_check("multiple_choice")(extract(text), "B", options=OPTIONS), text
    assert not right("exact", text, said), text


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["B {}", "(B) {}", "Option B {}", "B. {}", "The answer B {}"]),
    st.sampled_from(["can", "could", "should", "must", "may", "has to", "will"]),
    st.sampled_from(
        ["be ruled out", "be eliminated", "be excluded", "be rejected", "go", "be dismissed", "be dropped"]
    ),
)
def test_letter_of_which_something_else_is_said_is_not_chosen(frame, verb, what):
    assert choice(frame.format(f"{verb} {what}"), OPTIONS) is None


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["{}", "It's {}.", "It is {}", "There is {}.", "That's {}", "I see {}.", "The thing is {}"]),
    st.sampled_from(["a", "the", ""]),
    st.sampled_from(["a", "the", ""]),
    st.sampled_from([("bee", "B"), ("sea lion", "C")]),
)
def test_article_before_an_options_text_is_ignored(frame, said, written, case):
    thing, letter = case
    options = [f"{written} {one}".strip() for one in ("sign", "bee", "sea lion")]
    text = frame.format(f"{said} {thing}".strip())
    if frame != "{}" or said in (written, "the", ""):
        assert choice(text, options) == letter, text


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["{}", "There are {} dogs.", "I see {}.", "{} of them", "The man is holding {} balloons."]),
    st.sampled_from([("2", "two"), ("3", "three"), ("7", "seven")]),
    st.booleans(),
    st.booleans(),
)
def test_number_chooses_the_option_with_the_same_number(frame, number, said_in_words, written_in_words):
    options = [("one", "two", "three", "seven") if written_in_words else ("1", "2", "3", "7")][0]
    letter = {"2": "B", "3": "C", "7": "D"}[number[0]]
    assert choice(frame.format(number[said_in_words]), options) == letter
    assert choice(f"not {number[said_in_words]}", options) is None


@pytest.mark.parametrize("subject", ["it", "there", "the car", "this"])
@pytest.mark.parametrize("verb", ["is", "does", "has", "was", "can"])
def test_sentence_after_yes_or_no_agrees_with_it(subject, verb):
    yes, no = f"{subject} {verb}", f"{subject} {verb} not"
    verdicts = [choice(text, ["Yes", "No"]) for text in (f"Yes, {yes}.", f"No, {no}.", f"Yes, {no}.", f"No, {yes}.")]
    assert verdicts == ["A", "B", None, None]


PLAIN_MATHS = {
    "12*pi": r"12\pi",
    "pi/3": r"\frac{\pi}{3}",
    "2 * sqrt(3)": r"2\sqrt{3}",
    "sqrt(x+1)": r"\sqrt{x+1}",
    "(1+sqrt(5))/2": r"\frac{1+\sqrt{5}}{2}",
    "3*x**2": "3x^2",
    "2*sin(x)": r"2\sin x",
    "sqrt(2*sqrt(3))": r"\sqrt{2\sqrt{3}}",
}


@pytest.mark.parametrize("plain", PLAIN_MATHS)
@pytest.mark.parametrize("frame", ["{}", "Answer: {}", "The answer is {}."])
def test_plain_spelling_of_an_expression_equals_its_latex(plain, frame):
    assert right("math", frame.format(plain), PLAIN_MATHS[plain])
    others = set(PLAIN_MATHS.values()) - {PLAIN_MATHS[plain]}
    assert not any(right("math", frame.format(plain), other) for other in others)
