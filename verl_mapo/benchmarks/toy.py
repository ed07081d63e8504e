# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The held-out scenes of ``verl-mapo toy`` as a benchmark, so that every column can be tried on a CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import dataclasses

from verl_mapo.benchmarks import grouping
from verl_mapo.benchmarks.base import Benchmark, Layout, Question, Reported
from verl_mapo.data.base import Example, need
from verl_mapo.settings import STRICT

_SMOKE_QUESTIONS = 16


class Toy(Benchmark):
    """256 questions about coloured shapes and the letters in them, on scenes that no training has seen.

    Give the folder of the scenes that ``verl-mapo toy`` makes. Scenes are RGB images of 448 x 448 pixels; the box of a
    question is its target's, and a count has none.
    """

    name = "toy"
    questions = 256
    licence = "Apache-2.0"
    rule = "exact"
    note = "There is no official rule but the answer check of the rows; a toy of size smoke needs --option size=smoke."
    layouts = (Layout(("test.parquet",), ("prompt", "images", "reward_model", "extra_info")),)

    @dataclasses.dataclass(frozen=True, config=STRICT)
    class Options(Benchmark.Options):
        """The options of this benchmark.

        Attributes:
            size: the size of the toy, which decides the number of its scenes.
        """

        size: Literal["full", "smoke"] = "full"

    def __init__(self, options: Mapping[str, Any] | None = None):
        super().__init__(options)
        if self.options.size == "smoke":
            self.questions = _SMOKE_QUESTIONS

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        facts, target = need(example, "extra_info", Mapping), need(example, "reward_model", Mapping)
        box = facts["target_box"]
        return Question(
            id=str(facts["index"]),
            text=example["prompt"][-1]["content"],
            truth=target["ground_truth"],
            images=example["images"],
            boxes=[box] if box else None,
            style=target["style"],
            more={"category": facts["kind"], "needs_zoom": facts["needs_zoom"]},
        )

    def summary(self, answers: Sequence[grouping.Answer]) -> Reported:
        """See :class:`Benchmark`."""
        return grouping.by_category(answers, "category", "needs_zoom")
