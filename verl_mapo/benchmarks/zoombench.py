# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""ZoomBench: 845 questions about small regions, each with its box and its crop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import dataclasses

from verl_mapo.benchmarks import grouping
from verl_mapo.benchmarks.base import Benchmark, Layout, Question, Reported, chosen, listed_boxes
from verl_mapo.benchmarks.options import split_options
from verl_mapo.data.base import MARK, BoxUnit, Example, need
from verl_mapo.settings import STRICT


class ZoomBench(Benchmark):
    """845 questions about small regions of photographs, 621 with options and 224 with a number or a word.

    The column ``crop_image``, the region alone, is not read: the model has to find it.
    """

    name = "zoombench"
    hub_id = "inclusionAI/ZoomBench"
    licence = "Apache-2.0"
    questions = 845
    rule = "zoombench"
    note = "The unit of bbox is not documented; where pixels do not fit, give --option box_unit=thousandths."
    layouts = (
        Layout(("data/test*.parquet", "test*.parquet"), ("id", "query", "response", "question_type", "bbox", "image")),
    )

    @dataclasses.dataclass(frozen=True, config=STRICT)
    class Options(Benchmark.Options):
        """The options of this benchmark.

        Attributes:
            box_unit: what the numbers in ``bbox`` count.
        """

        box_unit: BoxUnit = "pixels"

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        text = need(example, "query").replace(MARK, "").strip()
        options = split_options(text)[1] if example["question_type"] == "mcq" else []
        return Question(
            id=str(example["id"]),
            text=text,
            truth=chosen(example["response"]) if options else str(example["response"]),
            images=[_one(example["image"])],
            options=options,
            in_text=True,
            boxes=None if example["bbox"] is None else listed_boxes(example["bbox"]),
            box_unit=self.options.box_unit,
            more={"question_type": example["question_type"], "category": example.get("category")},
        )

    def summary(self, answers: Sequence[grouping.Answer]) -> Reported:
        """See :class:`Benchmark`."""
        return grouping.by_category(answers, "question_type", "category")


def _one(image: Any) -> Any:
    """The image of a column that holds one or a list of one."""
    return image[0] if isinstance(image, Sequence) and not isinstance(image, str | bytes | Mapping) else image
