# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The rows of a rehearsal: generated ones have the schema of converted data, and the user's keep their columns."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from verl_mapo.data.rows import schema
from verl_mapo.rehearsal import data


def test_generated_rows_have_the_schema_of_converted_data(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SIZES", ((80, 60), (60, 90)))
    rows = data.generated_rows(tmp_path, by_math=False)
    table = pq.read_table(rows.file)
    assert [*table.column_names] == schema().names and len(table) == data.ROWS
    targets = table.column("reward_model").to_pylist()
    assert {target["style"] for target in targets} == {*data.STYLES}
    assert {target["ground_truth"] for target in targets} == {*rows.answers} == {"2", "3"}
    by_math = pq.read_table(data.generated_rows(tmp_path / "math", by_math=True, max_pixels=9000).file)
    assert {target["style"] for target in by_math.column("reward_model").to_pylist()} == {"math"}
    assert {image["max_pixels"] for [image] in by_math.column("images").to_pylist()} == {9000}


@pytest.mark.parametrize("count", [2, 3])
def test_picture_has_its_size_and_red_squares(count):
    picture = np.asarray(data.draw((320, 240), count, seed=1))
    assert picture.shape == (240, 320, 3)
    red = (picture == (220, 20, 20)).all(-1)
    assert red.sum() == count * 9 * 9  # a rectangle of PIL has both its corners


def test_largest_picture_has_the_size_that_is_promised():
    assert data.SIZES[0] == (8000, 6000)


def test_first_rows_of_a_file_keep_their_columns_and_give_the_answers(tmp_path):
    rows = [
        {"prompt": [{"role": "user", "content": "?"}], "reward_model": {"ground_truth": str(n % 3)}, "mine": n}
        for n in range(100)
    ]
    file = tmp_path / "mine.parquet"
    Dataset.from_list(rows).to_parquet(file)
    found = data.first_rows(file, tmp_path / "out")
    table = pq.read_table(found.file)
    assert len(table) == data.ROWS and table.column_names == ["prompt", "reward_model", "mine"]
    assert found.answers == ("0", "1", "2") and str(file) in found.about


def test_rows_without_a_readable_answer_are_left_to_the_checks_of_the_run(tmp_path):
    assert data.answers_of(Dataset.from_list([{"reward_model": {"ground_truth": ""}}])) == data.COUNTS
    assert data.answers_of(Dataset.from_list([{"prompt": "?"}])) == data.COUNTS
