# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""HR-Bench: 200 questions about images of 4K or 8K, each with its options in four orders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from verl_mapo.benchmarks import grouping
from verl_mapo.benchmarks.base import REPACKAGED, Benchmark, Layout, Question, Reported, chosen
from verl_mapo.benchmarks.options import in_columns
from verl_mapo.data.base import Example, LeftOut, need
from verl_mapo.settings import ConfigError

_COLUMNS = ("index", "question", "image", "answer", "category", "A", "B", "C", "D", "cycle_category")
_ORDERS = 4


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
        """See :class:`Benchmark`; the group of an example is its question, whatever the order of its options.

        In every layout the four orders follow each other. The repackaged one has no ``cycle_category``: there it is the
        place in the group.

        Raises:
            ConfigError: two rows of a group do not ask the same.
        """
        place, first = 0, {}
        for example in super().read(source, layout):
            if isinstance(example, LeftOut):
                place += example.examples
                yield example
                continue
            group, cycle = divmod(place, _ORDERS)
            if first.get("group") != group:
                first = {**example, "group": group, "place": place}
            _check_same(first, example, place, layout, source)
            yield {"cycle_category": f"cycle_{cycle}", **example, "group": group}
            place += 1

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`."""
        return Question(
            id=str(example["index"]),
            text=need(example, "question"),
            truth=chosen(example["answer"]),
            images=[need(example, "image")],
            options=in_columns(example),
            more={"category": example["category"]},
        )

    def _question(self, example: Example) -> Question:
        asked = super()._question(example)
        return replace(asked, more={**asked.more, **{name: example[name] for name in ("cycle_category", "group")}})

    def summary(self, answers: Sequence[grouping.Answer]) -> Reported:
        """See :class:`Benchmark`."""
        return grouping.cycles(answers)


def _check_same(first: Example, example: Example, place: int, layout: Layout, source: Path) -> None:
    """Refuse a group whose rows do not ask the same; each row of the repackaged layout has an image file of its own."""
    texts = [str(one.get("question")) for one in (first, example)]
    if " ".join(texts[0].split()).casefold() != " ".join(texts[1].split()).casefold():
        found = f"{texts[0]!r} and {texts[1]!r}"
    elif layout != REPACKAGED and example.get("image") not in (first.get("image"), str(first.get("index"))):
        found = f"{texts[0]!r} about one image and {texts[1]!r} about another"
    else:
        return
    raise ConfigError(
        f"--source {source} does not list the {_ORDERS} orders of each question one after another: rows "
        f"{first['place'] + 1} and {place + 1} belong to one question by their places, and ask {found}. Give all rows "
        "of the published file in their order."
    )


class HRBench4K(HRBench):
    """800 questions about 200 images of 4K: 200 questions, each with its options in four orders."""

    name = "hrbench_4k"
    file = "hr_bench_4k"


class HRBench8K(HRBench):
    """800 questions about 200 images of 8K: 200 questions, each with its options in four orders."""

    name = "hrbench_8k"
    file = "hr_bench_8k"
