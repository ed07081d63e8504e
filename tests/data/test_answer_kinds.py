# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A truth is given to the check that can judge it, and sentences to a judge."""

from __future__ import annotations

import pytest

from verl_mapo.data.answer_kinds import options_in, target_of
from verl_mapo.data.reasons import LeftOut
from verl_mapo.rewards.answers import FAST_CHECKS, can_be_met, find_check

STYLES = {
    "multiple_choice": ["B", "(C)", r"\boxed{B}", "D."],
    "yes_no": [
        *("Yes", "no.", "No, the car is not on the left side of the person.", "Yes, it is.", r"\boxed{No}"),
        *("Yes. The dog barks.", "No, cars are parked there.", "Yes it is"),
    ],
    "numeric": [
        *(
            "12",
            "3.5",
            "12 cm",
            r"\boxed{4}",
            "50%",
            "two",
            r"17^\circ",
            7,
            2.5,
            "1,234",
            "No. 5",
            "#5",
            "3/4",
            "7/4",
            "-3",
        ),
        *("$5.00", "10 MB", "3 dogs", "about 20 km/h", "5-year-old", "1 1/2", r"\boxed{7/2}", "Two", "½", "twenty-one"),
    ],
    "math": [r"\frac{1}{2}", r"2 \sqrt { 221 }", "x=3", "(3, 4)", "x^2+1", "3x", "2+3", "3*(4-1)", "$1-2$", "2x-3/4"],
    "exact": [
        *("red", "Bakery Cafe", "9:30", "right", "St. Mary's", r"\boxed{social media}", "no-entry", "Yes! Pizza"),
        *("7-Eleven", "7-eleven", "5th Avenue", "24/7", "20/20", "One Way", "555-1234", "1-2", "3-4", "2021-01-02"),
        *("Boeing 747", "Route 66", "Seven Seas", "4WD", "Gate 3-4", "1990s", "F-16/18"),
    ],
    "judge": [
        "The dog is to the left of the bottle.",
        "left of the bottle",
        "on the table",
        "No parking",
        "a red car",
        "A man who wears a hat is crossing the street",
        "7 and 8",
    ],
}


@pytest.mark.parametrize(("style", "truth"), [(style, truth) for style, truths in STYLES.items() for truth in truths])
def test_style_of_a_truth(style, truth):
    target = target_of(truth)
    assert target == {"style": style, "ground_truth": str(truth), "options": None}
    assert can_be_met(style, str(truth))


TRUTHS = [(True, True), ("True", True), ("true", True), (False, False), ("FALSE", False), (r"\boxed{True}", True)]


@pytest.mark.parametrize(("truth", "holds"), TRUTHS)
def test_true_is_yes_unless_the_question_names_true_and_false(truth, holds):
    target = target_of(truth, question="Is it true that the dog is left?")
    assert target["style"] == "yes_no" and target["ground_truth"] == ("Yes" if holds else "No")
    for answer, says in (("Yes", True), ("No.", False), ("Yes, it is.", True)):
        right = find_check("yes_no")(answer, target["ground_truth"], options=(), tolerance=0)
        assert right is (says is holds)
    target = target_of(truth, question="The dog is left. Answer with true or false.")
    assert target["style"] == "exact"
    assert find_check("exact")(str(holds).lower(), target["ground_truth"], options=(), tolerance=0)


@pytest.mark.parametrize(
    ("truth", "options", "question", "letter", "texts"),
    [
        ("blue", ["red", "blue"], "", "B", ["red", "blue"]),
        ("B", ["red", "blue"], "", "B", ["red", "blue"]),
        ("B. blue", None, "Which?\nA. red\nB. blue", "B", ["red", "blue"]),
        ("(A)", None, "Choices: (A) 145° (B) 135°\nAnswer with the letter.", "A", ["145°", "135°"]),
        ("3", ["2", "3"], "", "B", ["2", "3"]),
        ("Both A and B", ["A", "B", "Both A and B"], "", "C", ["A", "B", "Both A and B"]),
        ("D. A and B", ["A", "C", "B", "A and B"], "", "D", ["A", "C", "B", "A and B"]),
        ("BC", ["AB", "AC", "BC", "none"], "", "C", ["AB", "AC", "BC", "none"]),
        ("AC", ["red", "blue", "green"], "", "AC", ["red", "blue", "green"]),
        ("30°", None, "Which angle?\nA.15°\nB.30°", "B", ["15°", "30°"]),
        ("B", None, "哪个?\nA、红\nB、蓝", "B", ["红", "蓝"]),
    ],
)
def test_truth_among_options_is_their_letter(truth, options, question, letter, texts):
    expected = {"style": "multiple_choice", "ground_truth": letter, "options": texts}
    assert target_of(truth, options, question) == expected


def test_truth_that_is_no_listed_option_of_the_question_is_judged_by_itself():
    assert target_of("12", question="Let A. be 3 and B. be 4. What is A * B?")["style"] == "numeric"


@pytest.mark.parametrize(
    ("truth", "options", "reason"),
    [
        (None, None, "empty_answer"),
        ("  ", None, "empty_answer"),
        (r"\boxed{}", None, "empty_answer"),
        ("<answer></answer>", None, "empty_answer"),
        ("C", ["a", "b"], "impossible_answer"),
        ("green", ["red", "blue"], "impossible_answer"),
    ],
)
def test_truth_that_cannot_be_judged_is_left_out(truth, options, reason):
    with pytest.raises(LeftOut) as left:
        target_of(truth, options)
    assert left.value.reason == reason


@pytest.mark.parametrize(
    ("question", "texts"),
    [
        ("What? A) 1 B) 2", ["1", "2"]),
        ("A: red, B: blue", ["red", "blue"]),
        ("Which? A. red B. blue C. green", ["red", "blue", "green"]),
        ("Which?\n(A) one\n(B) two\nAnswer with the letter.", ["one", "two"]),
        ("A. x B. y C. z Answer with the option's letter.", ["x", "y", "z"]),
        ("Which? (A) red (B) blue. Please answer directly.", ["red", "blue."]),
        ("A. x B. y Answer with (A) or (B).", ["x", "y"]),
        ("What next? A. Answer the question B. Please wait", ["Answer the question", "Please wait"]),
        ("Which text? A. Choose one B. Select the box Select the letter.", ["Choose one", "Select the box"]),
        ("What is B. here?", []),
        ("(A) one (C) three", []),
        ("Nothing", []),
    ],
)
def test_options_that_a_question_lists(question, texts):
    assert options_in(question) == options_in(question.replace("\n", "\r\n")) == texts


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("No", "No, the car is not on the left side of the person.", True),
        ("Yes", "No, the bottle is not to the left of the person.", False),
        ("17 degrees", r"\boxed{17^\circ}", True),
        ("bakery cafe", "Bakery Cafe", True),
        ("The answer is (B)", r"\boxed{B}", True),
    ],
)
def test_right_answer_passes_the_check_that_is_chosen(answer, truth, right):
    style = target_of(truth)["style"]
    assert style in FAST_CHECKS and find_check(style)(answer, truth, options=(), tolerance=1e-4) is right
