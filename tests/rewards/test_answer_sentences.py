# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What a sentence around an answer changes, and what it does not: words from lists, put together by hypothesis."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.answers import right

from verl_mapo.rewards.answers import choice, extract, find_check

OPTIONS = ["left lane", "right lane", "5 cm", "$x^2$"]

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
