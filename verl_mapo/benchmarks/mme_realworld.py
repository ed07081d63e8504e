# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""MME-RealWorld-Lite: 1,919 questions about photographs of high resolution in five fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from verl_mapo.benchmarks import grouping
from verl_mapo.benchmarks.base import REPACKAGED, Benchmark, Layout, Question, Reported, chosen
from verl_mapo.benchmarks.options import listed
from verl_mapo.data.base import Example, need

_COLUMNS = ("index", "question", "multi-choice options", "answer", "category", "l2-category")


class MMERealWorldLite(Benchmark):
    """1,919 questions with five options: driving 750, monitoring 469, OCR 350, diagrams 200, remote sensing 150.

    The fifth option says that the image does not show what is asked for.
    """

    name = "mme_realworld_lite"
    hub_id = "yifanzhang114/MME-RealWorld-lite-lmms-eval"
    questions = 1919
    rule = "mme_realworld"
    note = "The official rule takes the first letter from A to E of a reply, also that of 'Based' or 'An'."
    layouts = (
        Layout(("data/train-*.parquet", "train-*.parquet"), ("bytes", *_COLUMNS), "parquet"),
        Layout(("*.tsv",), ("image", *_COLUMNS), "tsv"),
        REPACKAGED,
    )

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        category = need(example, "category")
        return Question(
            id=str(example["index"]),
            text=need(example, "question"),
            truth=chosen(example["answer"]),
            images=[example["bytes"] if "bytes" in example else need(example, "image")],
            options=listed(example["multi-choice options"]),
            more={
                "task": "Perception" if "perception" in category.lower() else "Reasoning",
                "category": category.rpartition("/")[2],
                "l2_category": example["l2-category"],
            },
        )

    def _question(self, example: Example) -> Question:
        """The question; only its id tells the task in the repackaged layout, ``perception/monitoring/position/27``."""
        asked = super()._question(example)
        parts = asked.id.split("/")
        told = {"task": parts[0].capitalize(), "l2_category": parts[2]} if len(parts) == 4 else {}
        return replace(asked, more={**told, **asked.more})

    def summary(self, answers: Sequence[grouping.Answer]) -> Reported:
        """See :class:`Benchmark`; ``accuracy_c`` is the mean over the fields, the paper's Avg-C."""
        shares = grouping.by_category(answers, "task", "category")
        return shares | {"accuracy_c": grouping.mean_of_groups(answers, "category")}
