# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""TreeBench: 405 questions about small objects whose boxes are known."""

from __future__ import annotations

from verl_mapo.benchmarks.base import REPACKAGED, Benchmark, Layout, Question, chosen, listed_boxes
from verl_mapo.benchmarks.options import in_columns, listed
from verl_mapo.data.base import Example, need

_COLUMNS = ("index", "question", "multi-choice options", "answer", "category", "target_instances", "image")


class TreeBench(Benchmark):
    """405 questions of ten kinds about small objects, with the boxes of all objects that are needed.

    The letters of the truths are A 117, B 113, C 112, D 56, F 4, E 3.
    """

    name = "treebench"
    hub_id = "HaochenWang/TreeBench"
    questions = 405
    rule = "treebench"
    note = "The mean box IoU is over the boxes that the model writes; see benchmarks.official.box_iou."
    layouts = (
        Layout(("TreeBench.tsv",), _COLUMNS, "tsv"),
        Layout(("data/*.parquet", "*.parquet"), _COLUMNS, "parquet"),
        REPACKAGED,
    )

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        return Question(
            id=str(example["index"]),
            text=need(example, "question"),
            truth=chosen(example["answer"]),
            images=[need(example, "image")],
            options=in_columns(example) or listed(example["multi-choice options"]),
            boxes=listed_boxes(example["target_instances"]),
            more={"category": example["category"], "l2_category": example.get("l2-category")},
        )
