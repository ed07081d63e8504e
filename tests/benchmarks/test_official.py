# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The official rules, with what they get wrong, beside the answer checks of the package."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.benchmarks import BENCHMARKS
from verl_mapo.benchmarks.official import (
    RULES,
    Target,
    best_iou,
    box_iou,
    inferred_letter,
    leading_letter,
    mme_letter,
    mmmu_letter,
    mmmu_open,
    vstar_letter,
    yes_or_no,
)
from verl_mapo.benchmarks.scoring import score
from verl_mapo.rewards import math_process
from verl_mapo.rewards.answers import Undecided

COLOURS = ("red", "green", "blue", "yellow")
CHOICE = Target("C", COLOURS, style="multiple_choice")
FLOAT = Target("1.2", (), {"answer_type": "float", "precision": 1.0}, "numeric")


@pytest.mark.parametrize(
    ("rule", "reply", "letter"),
    [
        (vstar_letter, "C", "C"),
        (vstar_letter, "(C) blue", "C"),
        (vstar_letter, "Answer: C", "A"),
        (vstar_letter, "The answer is C", "C"),
        (vstar_letter, "It is blue", "B"),
        (mme_letter, "The best answer is (D)", "D"),
        (mme_letter, "Based on the image, C", "B"),
        (mme_letter, "nothing", None),
        (leading_letter, "(c) blue", "C"),
        (leading_letter, "Blue", "B"),
        (leading_letter, "The answer is C", "T"),
    ],
)
def test_letters_that_harnesses_read(rule, reply, letter):
    assert rule(reply) == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("(A) no, (C)", "C"),
        ("A or C is it", "C"),
        ("The colour of this car is clearly blue", "C"),
        ("blue", None),
        ("no idea at all about this one", None),
    ],
)
def test_mmmu_reads_the_last_letter_or_text(reply, letter):
    assert mmmu_letter(reply, COLOURS) == letter


@pytest.mark.parametrize(
    ("reply", "letter"), [("So it is C.", "C"), ("A B C", None), ("It looks blue", "C"), ("?", None)]
)
def test_vlmevalkit_infers_a_letter_or_asks_a_judge(reply, letter):
    assert inferred_letter(reply, COLOURS) == letter


@pytest.mark.parametrize(
    ("reply", "truths", "right"),
    [
        ("The result is 4.50", ["4.5"], True),
        ("x = 1,200", ["1200"], True),
        ("It costs 6 dollars", ["$6", "6 dollars"], True),
        ("The answer is 5", ["4.5"], False),
    ],
)
def test_mmmu_compares_open_answers_by_parts_and_numbers(reply, truths, right):
    assert mmmu_open(reply, truths) is right


@pytest.mark.parametrize(
    ("reply", "said"), [("Yes, it is.", "yes"), ("No.", "no"), ("yes and no", None), ("Certainly", None)]
)
def test_yes_or_no(reply, said):
    assert yes_or_no(reply) == said


def test_box_iou_by_hand():
    assert box_iou("<box>[0,0,10,10]</box>", [(0, 0, 10, 10), (20, 20, 30, 30)]) == 0.5
    assert box_iou("<box>[0,0,10,10]</box> and <box>[5,0,15,10]</box>", [(5, 0, 15, 10)]) == 1.0
    assert box_iou("<box>[0,0,10,10]</box>", [(5, 0, 15, 10)]) == pytest.approx(1 / 3)
    assert box_iou("<box>[10,10,0,0]</box> no box", [(0, 0, 1, 1)]) == box_iou("", []) == 0


@given(st.lists(st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(21, 40)] * 2), min_size=1, max_size=4), st.data())
def test_more_boxes_never_lower_the_iou(boxes, data):
    truths = data.draw(st.lists(st.sampled_from(boxes), min_size=1))
    assert best_iou(boxes, truths) == 1.0
    assert best_iou(boxes[:1], truths) <= best_iou(boxes, truths)


@pytest.mark.parametrize(
    ("name", "reply", "target", "official", "ours"),
    [
        ("vstar", "Answer: C", CHOICE, False, True),
        ("vstar", "C", CHOICE, True, True),
        ("hrbench_8k", "It is not visible.", CHOICE, None, False),
        ("hrbench_8k", "C. blue", CHOICE, True, True),
        ("mme_realworld_lite", "Based on it, C", CHOICE, False, False),
        ("blink", "The answer is C", CHOICE, False, True),
        ("mmstar", "The answer is C", CHOICE, True, True),
        ("mmstar", "Let me think. C", CHOICE, False, False),
        ("realworldqa", "C.", CHOICE, True, True),
        ("realworldqa", "(C)", CHOICE, False, True),
        ("pope", "Yes, there is.", Target("Yes", style="yes_no"), False, True),
        ("pope", "no", Target("No", style="yes_no"), True, True),
        ("hallusion_bench", "Yes, the left one is larger.", Target("Yes", style="yes_no"), True, True),
        ("treebench", "x <answer>C</answer>", CHOICE, True, True),
        ("treebench", "<answer>C. blue</answer>", CHOICE, False, True),
        ("zoombench", "Answer: (C)", CHOICE, True, True),
        ("zoombench", "three", Target("3", style="numeric"), None, True),
        ("o3_bench", "<answer>B</answer> no <answer>C</answer>", CHOICE, True, True),
        ("o3_bench", "The answer is C", CHOICE, None, True),
        ("visual_probe_hard", "white", Target("White.", style="exact"), True, True),
        ("visual_probe_hard", "It is far left", Target("It is to the left.", style="judge"), None, None),
        ("mathvista", "1.23", FLOAT, True, False),
        ("mathvista", "about 1.2 m", FLOAT, None, True),
        ("mathvista", "(C)", CHOICE, True, True),
        ("we_math", "Reason... Answer: C", CHOICE, True, True),
        ("we_math", "The answer is C", CHOICE, False, True),
        ("mathverse", "C", CHOICE, None, True),
        ("mmmu_val", "6 dollars", Target("$6", (), {"answers": ["$6", "6 dollars"]}, "exact"), True, True),
        ("mmmu_pro", "(C)", CHOICE, True, True),
        ("geo3k", r"\boxed{2\sqrt{3}}", Target(r"\sqrt{12}", style="math"), True, True),
        ("geo3k", "12", Target("12", style="numeric"), False, True),
        ("mathvision", r"so \boxed{blue}", CHOICE, True, True),
        ("mathvision", "Therefore the answer is 12.", Target("12", style="numeric"), True, True),
        ("clevr_count", r"\boxed{4}", Target("5", style="numeric"), False, False),
    ],
)  # fmt: skip
def test_both_verdicts_on_a_reply(name, reply, target, official, ours):
    found = score(BENCHMARKS.find(name), reply, target)
    assert (found.official, found.ours) == (official, ours)
    assert found.differ == (None not in (official, ours) and official != ours)


def test_every_benchmark_has_an_official_rule():
    assert {BENCHMARKS.find(name).rule for name in BENCHMARKS.names} == set(RULES)


@pytest.mark.parametrize("name", BENCHMARKS.names)
@pytest.mark.parametrize("reply", ["", "  ", "\n", "(", r"\boxed{", "<answer>", "é" * 50])
def test_no_rule_raises_because_of_a_reply(name, reply):
    assert score(BENCHMARKS.find(name), reply, CHOICE).official in (False, None)


def test_tower_of_powers_that_math_verify_cannot_compute_has_no_verdict(monkeypatch):
    monkeypatch.setattr(math_process._PROCESS, "cpu_s", 0.3)
    for name in ("geo3k", "mathvision"):
        found = score(BENCHMARKS.find(name), r"\boxed{9^{9^{9^{9^9}}}}", Target("9", style="math"))
        assert (found.official, found.ours) == (None, None)


@pytest.mark.parametrize("name", BENCHMARKS.names)
def test_comparison_without_a_result_stops_no_rule(monkeypatch, name):
    def undecided(answer: str, truth: str, **_) -> bool:
        raise Undecided("too slow")

    monkeypatch.setattr(math_process, "check_math", undecided)
    assert score(BENCHMARKS.find(name), r"\boxed{99}", CHOICE).official in (False, None)
    if name == "mathvision":
        assert score(BENCHMARKS.find(name), r"\boxed{blue}", CHOICE).official is True, "a later truth is met"


def test_equal_answers_are_equal_votes():
    said = {score(BENCHMARKS.find("vstar"), reply, CHOICE).said for reply in ("C", "The answer is (C)", "blue")}
    assert said == {"C"}
    assert score(BENCHMARKS.find("pope"), "Yes, it is.", Target("No", style="yes_no")).said == "yes"
    assert score(BENCHMARKS.find("geo3k"), "", Target("12", style="numeric")).said is None
