# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Where the answer is found, what the checks accept, ground truths and options, and checks by name or dotted path."""

import inspect

import numpy as np
import pytest
from support.rewards import same_length

from verl_mapo.rewards.answers import (
    CHECKS,
    FAST_CHECKS,
    choice,
    exact,
    extract,
    find_check,
    math_equal,
    multiple_choice,
    numeric,
    options_of,
    says_yes,
    truths_of,
    yes_no,
)

ANIMALS = ["cat", "cow", "dog", "guinea pig"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>A?</think><answer>C</answer>", "C"),
        ("<answer>A</answer> no, <answer> B\n</answer> yes", "B"),
        ("<answer>A</answer> <answer>B", "A"),
        ("<answer></answer>", ""),
        (r"so \boxed{3}. No, it is \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"so \boxed{3} or \boxed{\frac{1}{2}}.", r"3 or \frac{1}{2}"),
        (r"$\boxed{A}$, $\boxed{C}$", "A, C"),
        (r"<answer>It is \boxed{B}</answer>", "B"),
        (r"<think>\boxed{1}</think>So 2.", "So 2."),
        ("<think>It is 2.", ""),
        ("**Answer:** 5\n\nI hope this helps!", "**Answer:** 5"),
        ("## Answer\n5", "5"),
        ("Answer:\nA\nC", "A\nC"),
        ("A. cat\nB. dog", "A. cat\nB. dog"),
        ("#### 18", "#### 18"),
        (r"\boxed{1} and <answer>2</answer>", "2"),
        (r"\boxed{1", r"\boxed{1"),
        ("First line.\n\n  It is red. \n \n", "It is red."),
        ('I look closer.\n<tool_call>{"arguments": {"bbox_2d": [1, 2, 3, 4]}}</tool_call>', "I look closer."),
        ('<tool_call>{"name": "zoom"}</tool_call>', ""),
        ("", ""),
    ],
)
def test_answer_is_extracted_from_a_text(text, answer):
    assert extract(text) == answer


@pytest.mark.parametrize(
    ("answer", "truth", "same"),
    [
        ("Red", "red", True),
        ("  the  RED\tcar. ", "the red car", True),
        ('**"red"**', "red", True),
        ("red car", "a red car", False),
        ("-5", "5", False),
        (".5", "5", False),
        ("3.5", "35", False),
        ("don't", "dont", False),
        ("ＲＥＤ", "red", True),
        ("Straße", "STRASSE", True),
        ("", "", False),
        ("+", "-", False),
    ],
)
def test_exact_ignores_case_space_and_outer_punctuation(answer, truth, same):
    assert exact(answer, truth) is same


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("C", "C"),
        ("c", "C"),
        ("(C)", "C"),
        ("**C**.", "C"),
        ("C)", "C"),
        ("C. dog", "C"),
        ("(c) dog", "C"),
        ("C dog", "C"),
        ("dog", "C"),
        ("A dog", None),
        ("Guinea pig.", "D"),
        ("Answer: C", "C"),
        ("The answer is (C).", "C"),
        ("the correct option is C because it barks", "C"),
        ("My answer is c.", "C"),
        ("Choice B", "B"),
        ("I think (B) is right", "B"),
        ("(A) or (B)", None),
        ("either (A) or (B)", None),
        ("Answer: A. No, answer: B", "B"),
        ("The answer is a dog", "C"),
        ("The answer is A dog", None),
        ("The answer isn't A", None),
        ("E", None),
        ("", None),
    ],
)
def test_choice_reads_the_letter_in_any_common_format(text, letter):
    assert choice(text, ANIMALS) == letter


def test_without_options_any_letter_is_a_choice_and_words_are_not():
    assert choice("F. six") == "F"
    assert choice("dog") is None


def test_truth_of_a_multiple_choice_may_be_a_letter_or_a_text():
    for truth in ("C", "(C)", "C. dog", "dog"):
        assert multiple_choice("Answer: C", truth, options=ANIMALS)
        assert not multiple_choice("Answer: A", truth, options=ANIMALS)
    assert not multiple_choice("nothing", "no option at all", options=ANIMALS)
    assert choice("dog", ["dog", "dog"]) is None


@pytest.mark.parametrize(
    ("answer", "truth", "same"),
    [
        ("7", "7.0", True),
        ("about 1,234.5 m", "1234.5", True),
        ("12,34", "1234", False),
        ("1,2,3", "3", False),
        ("3 + 4 = 7.", "7", True),
        ("-3", "3", False),
        ("−3", "-3", True),
        ("1e3", "1000", True),
        ("12 cm", "12", True),
        ("12", "12 cm", True),
        ("12 cm", "12 mm", False),
        ("9.8 m/s^2", "9.8 m/s^2", True),
        ("50%", "0.5", True),
        ("50%", "50", True),
        ("0.5", "50 %", True),
        ("50", "0.5", False),
        ("0.01%", "1%", False),
        ("100.001", "100", True),
        ("101", "100", False),
        ("0", "0", True),
        ("1e999", "1e999", False),
        ("none", "5", False),
        ("H2O", "2", False),
    ],
)
def test_numeric_compares_single_quantities_and_their_units(answer, truth, same):
    assert numeric(answer, truth) is same


def test_tolerance_of_numeric_is_relative():
    assert numeric("104", "100", tolerance=0.05)
    assert not numeric("107", "100", tolerance=0.05)


@pytest.mark.parametrize(
    ("answer", "truth", "same"),
    [
        (r"\frac{1}{2}", "0.5", True),
        ("$1/2$", "0.5", True),
        ("x^2+1", "1+x^2", True),
        ("(1, 2)", "(1,2)", True),
        ("x+1", "y", False),
        ("", "1", False),
        ("{", "1", False),
    ],
)
def test_math_equal_compares_values_and_not_texts(answer, truth, same):
    assert math_equal(answer, truth) is same


@pytest.mark.parametrize(
    ("ground_truth", "truths"),
    [
        ("ab", ["ab"]),
        (3, ["3"]),
        (12.0, ["12"]),
        (0.5, ["0.5"]),
        (True, ["True"]),
        (["a", 2], ["a", "2"]),
        (np.array(["a", "b"], dtype=object), ["a", "b"]),
        (np.float64(7), ["7"]),
        (np.array("a"), ["a"]),
        ({"target": ["a", "b"]}, ["a", "b"]),
        ({"target": np.array(["a"]), "answer": None}, ["a"]),
        ({"answer": 5, "unit": "cm"}, ["5"]),
        ({"value": {"target": "a"}}, ["a"]),
    ],
)
def test_ground_truth_may_be_one_answer_or_a_list_or_a_mapping(ground_truth, truths):
    assert truths_of(ground_truth) == truths


@pytest.mark.parametrize(
    ("ground_truth", "sentence"),
    [
        (None, "the ground truth None is no answer: use a text, a number, or a list of accepted answers"),
        ([], "the ground truth [] is no answer"),
        ([None], "the ground truth None is no answer"),
        ("", "the ground truth '' is no answer"),
        (["red", " "], "the ground truth ' ' is no answer"),
        (float("nan"), "the ground truth nan is no answer"),
        (b"red", "the ground truth b'red' is no answer"),
        (object, "is no answer"),
        ({}, "the ground truth {} has its answer under no key"),
        ({"label": "red"}, "a mapping with one of the keys target, targets, answer"),
        ({"target": None}, "the ground truth {'target': None} has its answer under no key"),
        ({"target": "a", "answer": "b"}, "has its answer under target and answer"),
        ({"target": {"x": 1}}, "the ground truth {'x': 1} has its answer under no key"),
    ],
)
def test_ground_truth_without_an_answer_is_refused(ground_truth, sentence):
    with pytest.raises(ValueError) as error:
        truths_of(ground_truth)
    assert sentence in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        (None, []),
        (np.array(None), []),
        ([], []),
        ({}, []),
        (np.array(["cat", "cow"], dtype=object), ["cat", "cow"]),
        (["cat", "cow", None], ["cat", "cow"]),
        ({"B": "cow", "A": "cat", "C": None}, ["cat", "cow"]),
        ({"b": "cow", "a": "cat"}, ["cat", "cow"]),
        ({str(number): f"text {number}" for number in range(1, 12)}, [f"text {number}" for number in range(1, 12)]),
        ({number: f"text {number}" for number in range(11)}, [f"text {number}" for number in range(11)]),
    ],
)
def test_options_may_be_a_list_or_a_mapping_of_letters_or_numbers(options, texts):
    assert options_of(options) == texts


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("A. cat\nB. cow", "are no list: use the list of their texts, A first"),
        (3, "are no list: use the list of their texts, A first"),
        (["cat", None, "dog"], "have no text at B"),
        ({"A": "cat", "B": None, "C": "dog"}, "have no text at B"),
        ({"B": "cow", "C": "dog"}, "have the keys 'B', 'C': use A, B, ... or 1, 2, ... without a gap"),
        ({"A": "cat", 1: "cow"}, "have the keys 'A', 1"),
        ({"A": "cat", None: "cow"}, "have the keys 'A', None"),
        ({2: "cat", 3: "cow"}, "have the keys 2, 3"),
        ({"first": "cat"}, "have the keys 'first'"),
    ],
)
def test_options_that_leave_a_letter_open_are_refused(options, sentence):
    with pytest.raises(ValueError) as error:
        options_of(options)
    assert sentence in str(error.value)


def test_built_in_checks_have_one_signature():
    assert CHECKS.names == ["exact", "multiple_choice", "numeric", "yes_no", "judge", "math"]
    assert set(CHECKS.names) - set(FAST_CHECKS) == {"math"}, "only math is slow"
    for name in CHECKS.names:
        parameters = inspect.signature(find_check(name)).parameters
        assert list(parameters)[:2] == ["answer", "truth"]
        assert any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        assert find_check(name)("7", "7", options=["6", "7"], tolerance=0.0)


def test_check_is_found_by_dotted_path():
    assert find_check("support.rewards.same_length") is same_length


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "rule",
            "there is no answer check 'rule': use one of exact, multiple_choice, numeric, yes_no, judge, math",
        ),
        ("numerics", "did you mean 'numeric'?"),
        ("no.such.check", "the dotted path 'no.such.check' leads to no answer check"),
        ("support.rewards.async_check", "is an async function"),
    ],
)
def test_unknown_check_is_refused(name, sentence):
    with pytest.raises(ValueError) as error:
        find_check(name)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("No", "No, the car is not on the left side of the person.", True),
        ("no, it is on the right", "No, the car is not on the left side of the person.", True),
        ("Yes", "No, the car is not on the left side of the person.", False),
        ("The car is on the right", "No, the car is not on the left side of the person.", False),
        ("Yes or no", "Yes", False),
        ("Yes, but no", "Yes", False),
        ("yes.", "Yes, the woman is not wearing a hat", True),
        ("Yes, the woman is not wearing a hat", "Yes, the woman is not wearing a hat", True),
        ("Yes", "The dog is to the left of the bottle.", False),
        ("", "No", False),
    ],
)
def test_yes_and_no_are_compared_whatever_follows_them(answer, truth, right):
    assert yes_no(answer, truth) is right


@pytest.mark.parametrize(
    ("truth", "yes"),
    [("Yes", True), ("no.", False), ("No, it is red", False), ("Yes it is", True), (r"\text{No}", False)]
    + [(truth, None) for truth in ("No parking", "Yesterday", "None", "The dog is left", "")],
)
def test_truth_is_yes_or_no_where_it_begins_so(truth, yes):
    assert says_yes(truth) is yes
