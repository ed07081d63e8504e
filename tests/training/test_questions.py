# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Data rows by their question id, and as they are in the data."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from support.pictures import encoded
from support.served_rows import config_of, write_questions

from verl_mapo.training.questions import Questions


def test_equal_rows_are_one_question_and_columns_stay_as_they_are(tiny_models, tmp_path, picture):
    file = write_questions(tmp_path / "rows.parquet", picture, ("a?", "b?"))
    table = pq.read_table(file)
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), file)
    config = config_of(tiny_models["qwen2_5_vl"], file)
    questions = Questions(config)
    rows = list(questions)
    assert len(questions) == 3 and [row["place"] for row in rows] == [0, 1]
    assert {row["question_id"]: row["place"] for row in rows} == {
        identity: row["place"] for identity, row in questions.by_id.items()
    }
    assert questions.by_id[rows[1]["question_id"]]["extra_info"]["boxes"] == [[60.0, 40.0, 120.0, 100.0]]
    assert questions.table([1, 0, 1]) == table.take([1, 0, 1]).replace_schema_metadata(None)


def test_embedded_pictures_stay_in_the_rows(tiny_models, tmp_path):
    images = [[{"bytes": encoded(Image.new("RGB", (60, 60), colour)), "path": None}] for colour in ("red", "blue")]
    table = pa.table(
        {
            "data_source": ["s", "s"],
            "prompt": [[{"role": "user", "content": "<image>what?"}]] * 2,
            "images": images,
            "reward_model": [{"style": "exact", "ground_truth": "red"}] * 2,
            "extra_info": [{"index": 0}, {"index": 0}],
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    config = config_of(tiny_models["qwen2_5_vl"], tmp_path / "rows.parquet")
    config.data.picture_dir = str(tmp_path / "pictures")
    questions = Questions(config)
    assert len(questions.by_id) == 2, "the content of an image tells questions apart"
    assert questions.table([0, 1])["images"].to_pylist() == images
