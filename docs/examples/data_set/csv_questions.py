# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Questions in a CSV file beside their images: a complete data set outside verl_mapo."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from verl_mapo.data.base import DataSet, Row


class CsvQuestions(DataSet):
    """``questions.csv`` with the columns image (a relative path), question, answer and style."""

    name = "csv_questions"
    extra_info = {"file": pa.string()}

    def rows(self, source: Path) -> Iterator[Row]:
        with (source / "questions.csv").open(encoding="utf-8", newline="") as file:
            for index, line in enumerate(csv.DictReader(file)):
                yield Row(
                    data_source=self.name,
                    prompt=[{"role": "user", "content": f"<image>{line['question']}"}],
                    images=[{"image": str((source / line["image"]).resolve())}],
                    reward_model={"style": line["style"], "ground_truth": line["answer"]},
                    extra_info={"index": index, "file": line["image"]},
                )
