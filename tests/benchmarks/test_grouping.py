# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The rules about groups of questions, by hand."""

from __future__ import annotations

import pytest

from verl_mapo.benchmarks import grouping
from verl_mapo.benchmarks.grouping import Answer


def answers(right: list[float], **facts: list) -> list[Answer]:
    return [
        Answer(str(place), share, {name: values[place] for name, values in facts.items()})
        for place, share in enumerate(right)
    ]


def test_categories_and_the_mean_over_them():
    some = answers([1, 0, 1, 1], category=["a", "a", "b", "b"])
    assert grouping.by_category(some, "category") == {"accuracy": 0.75, "category/a": 0.5, "category/b": 1.0}
    assert grouping.mean_of_groups(some, "category") == 0.75
    assert grouping.mean_of_groups(some[1:], "category") == 0.5


def test_hrbench_is_the_mean_of_its_cycles():
    some = answers(
        [1, 1, 0, 0, 1, 1, 1, 1],
        category=["single"] * 4 + ["cross"] * 4,
        cycle_category=["c0", "c1", "c2", "c3"] * 2,
        group=[0] * 4 + [1] * 4,
    )
    assert grouping.cycles(some) == {
        "accuracy": 0.75, "mean_of_cycles": 0.75, "fsp": 0.5, "fcp": 1.0, "mean_fsp_fcp": 0.75, "all_cycles": 0.5,
    }  # fmt: skip


def test_accuracy_is_the_mean_over_questions_where_some_orders_or_variants_are_missing():
    some = answers(
        [1, 0, 0, 0, 0, 0],
        category=["single"] * 6,
        cycle_category=["c0", "c1", "c2", "c3", "c0", "c1"],
        group=[0] * 4 + [1] * 2,
        problem=["a"] * 2 + ["b"] * 4,
    )
    assert grouping.cycles(some)["accuracy"] == 1 / 6 and grouping.cycles(some)["mean_of_cycles"] == 1 / 8
    assert grouping.variants(some)["accuracy"] == 1 / 6


def test_fact_that_is_missing_or_empty_makes_no_row():
    some = answers([1, 0, 1, 1], category=["a", "", None, "a"])
    assert grouping.by_category(some, "category", "task") == {"accuracy": 0.75, "category/a": 1.0}
    assert not any("//" in name for name in grouping.yes_no(some, "category"))


def test_pope_counts_an_unclear_answer_as_wrong_and_not_as_no():
    said, truths = ["yes", "yes", "no", None, "no"], ["yes", "no", "yes", "yes", "no"]
    some = [
        Answer(str(place), float(one == truth), {"category": "random"}, truth.capitalize(), one)
        for place, (one, truth) in enumerate(zip(said, truths, strict=True))
    ]
    found = grouping.yes_no(some, "category")
    assert (found["accuracy"], found["precision"], found["recall"], found["f1"]) == (0.4, 0.5, 0.5, 0.5)
    assert found["yes_ratio"] == 0.4 and found["category/random/f1"] == 0.5


def test_hallusion_groups_by_question_and_by_figure():
    facts = {
        "category": ["VD", "VD", "VD", "VS"],
        "subcategory": ["x"] * 4,
        "set_id": ["0"] * 4,
        "figure_id": ["0", "1", "1", "0"],
        "question_id": ["0", "0", "1", "0"],
    }
    found = grouping.hallusion(answers([1, 1, 0, 1], **facts))
    assert found["aAcc"] == 0.75
    assert found["qAcc"] == pytest.approx(2 / 3)  # VD question 0, VS question 0; not VD question 1
    assert found["fAcc"] == pytest.approx(1 / 2)  # VD figure 0; the VS row has no figure


def test_we_math_sorts_problems_into_four_outcomes():
    problems = {"cm": (1, 1, 1), "rm_loose_cm": (1, 0, 1), "rm": (0, 0, 1), "ig": (1, 1, 0), "ik": (0, 1, 0)}
    some = answers(
        [share for shares in problems.values() for share in shares],
        problem=[name for name in problems for _ in range(3)],
        step=["2steps_1", "2steps_2", "2steps_multi"] * 5,
    )
    found = grouping.steps(some)
    assert (found["cm_strict"], found["cm_loose"], found["rm_strict"], found["rm_loose"]) == (0.2, 0.4, 0.4, 0.2)
    assert found["score_strict"] == pytest.approx((5 - 0.5 - 2 - 1) / 5)
    assert found["score_loose"] == pytest.approx((5 - 0.5 - 1 - 1) / 5)
    assert found["rote_rate_strict"] == pytest.approx(2 / 3)


def test_we_math_leaves_out_problems_of_which_a_question_is_missing():
    names = ["2steps_1", "2steps_2", "2steps_multi", "2steps_1", "2steps_2", "3steps_multi", "3steps_1", "2steps_multi"]
    some = answers([1, 1, 1, 1, 0, 1, 1, 1], problem=list("aaabbccd"), step=names)
    found = grouping.steps(some)
    assert found["problems_left_out"] == 3 and found["accuracy"] == 7 / 8
    assert (found["score_strict"], found["score_loose"], found["cm_strict"]) == (1.0, 1.0, 1.0)
    assert grouping.steps(some[3:5])["problems_left_out"] == 1
    assert "problems_left_out" not in grouping.steps(some[:3])


def test_dynamath_is_as_good_as_the_worst_variant():
    found = grouping.variants(answers([1, 1, 1, 0], problem=["a", "a", "b", "b"]))
    assert found == {"accuracy": 0.75, "worst_case": 0.5, "robustness": pytest.approx(2 / 3)}


def test_cv_bench_is_the_mean_of_two_and_three_dimensions():
    some = answers([1, 0, 1, 1], source=["ADE20K", "COCO", "Omni3D", "Omni3D"], task=["Count"] * 4)
    assert grouping.sources(some)["mean_2d_3d"] == 0.75
