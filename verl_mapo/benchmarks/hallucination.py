# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Questions with the answers yes and no about what an image shows: POPE and HallusionBench."""

from __future__ import annotations

from collections.abc import Sequence

from verl_mapo.benchmarks import grouping
from verl_mapo.benchmarks.base import Benchmark, Layout, Question, Reported
from verl_mapo.data.base import Example, LeftOut, need


class Pope(Benchmark):
    """9,000 questions whether an object is in a photograph: 3,000 each with random, popular and adversarial objects."""

    name = "pope"
    hub_id = "lmms-lab/POPE"
    questions = 9000
    rule = "pope"
    note = "The official rule takes only a reply that is exactly yes or no."
    layouts = (
        Layout(
            ("data/test-*.parquet", "test-*.parquet"),
            ("question_id", "question", "answer", "image_source", "image", "category"),
        ),
    )

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        category = need(example, "category")
        return Question(
            id=f"{category}-{example['question_id']}",
            text=need(example, "question"),
            truth=need(example, "answer").capitalize(),
            images=[example["image"]],
            style="yes_no",
            more={"category": category, "image": example["image_source"]},
        )

    def summary(self, answers: Sequence[grouping.Answer]) -> Reported:
        """See :class:`Benchmark`."""
        return grouping.yes_no(answers, "category")


class HallusionBench(Benchmark):
    """951 yes-or-no questions about figures, charts and illusions, some of them edited to mislead."""

    name = "hallusion_bench"
    hub_id = "lmms-lab/HallusionBench"
    licence = "BSD-3-Clause"
    questions = 951
    rule = "hallusion"
    note = (
        "The 178 questions without a figure (split non_image) are not asked; qAcc and fAcc are over the 951. The "
        "official judge is GPT-4; the rule here is VLMEvalKit's search for yes or no."
    )
    layouts = (
        Layout(
            ("data/image-*.parquet", "image-*.parquet"),
            ("category", "subcategory", "visual_input", "set_id", "figure_id", "question_id", "question", "gt_answer"),
        ),
    )

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        place = {name: example[name] for name in ("category", "subcategory", "set_id", "figure_id", "question_id")}
        truth = {"1": "Yes", "0": "No"}.get(str(example["gt_answer"]).strip())
        if truth is None:
            raise LeftOut("malformed", f"gt_answer is {example['gt_answer']!r:.60}, neither 0 nor 1")
        return Question(
            id="_".join(map(str, place.values())),
            text=need(example, "question"),
            truth=truth,
            images=[need(example, "image", dict)],
            style="yes_no",
            more=place | {"visual_input": example["visual_input"]},
        )

    def summary(self, answers: Sequence[grouping.Answer]) -> Reported:
        """See :class:`Benchmark`."""
        return grouping.hallusion(answers)
