# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""O3-Bench: 345 questions about maps and charts that need several looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from verl_mapo.benchmarks import grouping
from verl_mapo.benchmarks.base import Benchmark, Layout, Question, Reported, chosen
from verl_mapo.benchmarks.options import listed
from verl_mapo.data.base import Example, LeftOut, need


class O3Bench(Benchmark):
    """345 questions about composite charts and maps of high resolution, with options from A to F."""

    name = "o3_bench"
    hub_id = "m-Just/O3-Bench"
    questions = 345
    rule = "o3_bench"
    note = (
        "The official judge is asked whether an answer is correct, and a reply with 'correct' in it, also 'incorrect', "
        "counts as right; its numbers are the mean of three trials."
    )
    layouts = (Layout(("test/metadata.jsonl", "metadata.jsonl"), ("file_name", "question", "answer")),)

    def read(self, source: Path, layout: Layout) -> Iterator[Example | LeftOut]:
        """See :class:`Benchmark`; the paths of the images are relative to the file that names them."""
        folder = "test/" if (source / "test" / "metadata.jsonl").exists() else ""
        for example in super().read(source, layout):
            yield (
                example | {"file_name": folder + str(example.get("file_name"))}
                if isinstance(example, dict)
                else example
            )

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        options = listed(example["options"]) if example.get("options") else []
        return Question(
            id=next((str(example[name]) for name in ("id", "question_id", "index") if name in example), None),
            text=need(example, "question"),
            truth=chosen(example["answer"]) if options else str(example["answer"]),
            images=[example["file_name"]],
            options=options,
            more={"category": example.get("subset", example.get("category"))},
        )

    def summary(self, answers: Sequence[grouping.Answer]) -> Reported:
        """See :class:`Benchmark`."""
        return grouping.by_category(answers, "category")
