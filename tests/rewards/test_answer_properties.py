# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What holds for every answer: wrappers change no verdict, checks are symmetric, and no text raises or takes long."""

import string
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from math_verify import parse, verify
from support.answers import PATIENCE_S, right

from verl_mapo.rewards.answer_text import MAX_LENGTH, unwrap
from verl_mapo.rewards.answers import FAST_CHECKS, Undecided, choice, extract, find_check, math_equal, numeric
from verl_mapo.rewards.math_process import cpu_limit

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


@pytest.mark.parametrize(
    "pair", [("5", "6"), ("-5", "5"), (r"\frac{1}{2}", r"\frac{1}{3}"), (r"\pi", r"\sqrt{2}"), ("(1,2)", "(3,4)")]
)
@pytest.mark.parametrize(
    "text",
    [
        "Answer: {}. It is {}.",
        "Answer: {}\nSo {}",
        "Answer: {}. Wait, it is {}.",
        "Answer: {}\nActually, it is {}.",
        "The answer is {}. The result is {}",
        "final answer: {}; so {}",
        "The final answer is ${}$. I hope {} is correct.",
        "The answer is {} apples, while the total is {} pears",
    ],
)
def test_one_response_is_not_right_for_two_different_numbers(text, pair):
    response = extract(text.format(*pair))
    with cpu_limit(PATIENCE_S):
        assert not all(math_equal(response, truth) for truth in pair)


COLOURS = ["blue", "red", "green", "yellow"]

TWO_CLAUSES = [
    "{letter}. {own}. The bus behind it is {other}.",
    "The answer is {letter}. The car is {own} while the bus is {other}.",
    "{letter}. The bus is {other}.",
    "Answer: {letter}. The bus behind it is {other}.",
    "{letter}, the other car is {other}",
    "The answer is {letter} because {label} is {other}",
    "The answer is {letter} because {label} is too bright",
    "The answer is {letter}. Option {label} says {other}, which is not what we see.",
    "The car is {own} and the bus is {other}",
    "{letter}. I think this is right",
    "The answer is {letter}. That is right",
]


@given(
    st.permutations(range(4)),
    st.sampled_from(TWO_CLAUSES),
    st.sampled_from([COLOURS, ["left", "right", "above", "below"], ["one", "two", "three", "four"]]),
)
def test_second_clause_about_another_thing_does_not_choose_its_option(order, text, options):
    mine, other = order[:2]
    texts = {"own": options[mine], "other": options[other], "letter": "ABCD"[mine], "label": "ABCD"[other]}
    assert choice(extract(text.format(**texts)), options) in ("ABCD"[mine], None)


@pytest.mark.parametrize("text", TWO_CLAUSES[:1] + TWO_CLAUSES[5:8] + TWO_CLAUSES[9:])
def test_letter_stands_beside_what_is_said_of_other_things(text):
    text = text.format(letter="C", own="green", other="red", label="B")
    assert choice(extract(text), COLOURS) == "C"
