# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""HR-Bench: 200 questions about images of 4K or 8K, each with its options in four orders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from verl_mapo.benchmarks import grouping
from verl_mapo.benchmarks.base import REPACKAGED, Benchmark, Layout, Question, Reported, chosen
from verl_mapo.benchmarks.options import in_columns
from verl_mapo.data.base import Example, LeftOut, need

_COLUMNS = ("index", "question", "image", "answer", "category", "A", "B", "C", "D", "cycle_category")


class HRBench(Benchmark):
    """200 questions, each with its options in four orders; 100 about one object, 100 about several.

    The image is base64, and repeated in the four rows of a question; it is written once.
    """

    hub_id = "DreamMr/HR-Bench"
    questions = 800
    rule = "letter_or_judge"
    note = "Some papers report the mean of all 800 answers, some the mean of FSP and FCP; with 400 each they are equal."
    file: ClassVar[str]

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """See :class:`Benchmark`; both sizes are in one repository, each as a table and as parquet.

        The table comes first: it is read row by row, while a parquet file may hold all its images in one dictionary.
        """
        patterns = (f"{self.file}.parquet", f"{self.file}-*.parquet", f"data/{self.file}-*.parquet")
        return (Layout((f"{self.file}.tsv",), _COLUMNS, "tsv"), Layout(patterns, _COLUMNS, "parquet"), REPACKAGED)

    def read(self, source: Path, layout: Layout) -> Iterator[Example | LeftOut]:
        """See :class:`Benchmark`; the group of an example is its question, whatever the order of its options."""
        for place, example in enumerate(super().read(source, layout)):
            yield example | {"group": place // 4} if isinstance(example, dict) else example

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        return Question(
            id=str(example["index"]),
            text=need(example, "question"),
            truth=chosen(example["answer"]),
            images=[need(example, "image")],
            options=in_columns(example),
            more={name: example[name] for name in ("category", "cycle_category", "group")},
        )

    def summary(self, answers: Sequence[grouping.Answer]) -> Reported:
        """See :class:`Benchmark`."""
        return grouping.cycles(answers)


class HRBench4K(HRBench):
    """800 questions about 200 images of 4K: 200 questions, each with its options in four orders."""

    name = "hrbench_4k"
    file = "hr_bench_4k"


class HRBench8K(HRBench):
    """800 questions about 200 images of 8K: 200 questions, each with its options in four orders."""

    name = "hrbench_8k"
    file = "hr_bench_8k"
