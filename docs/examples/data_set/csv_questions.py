# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Questions in a CSV file beside their images: a complete data set outside verl_mapo."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from verl_mapo.data.base import DataSet, Example, Pictures, Row, make_row, target_of


class CsvQuestions(DataSet):
    """``questions.csv`` with the columns image (a relative path), question and answer."""

    name = "csv_questions"

    def examples(self, source: Path) -> Iterator[Example]:
        with (source / "questions.csv").open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)

    def row(self, index: int, example: Example, pictures: Pictures) -> Row:
        picture, target = pictures.at(example["image"]), target_of(example["answer"])
        return make_row(self.name, index, example["question"], [picture], target, more={"file": example["image"]})
