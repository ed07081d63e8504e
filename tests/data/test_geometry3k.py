# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""geometry3k in both published versions."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.conftest import image_bytes

from verl_mapo.data import convert
from verl_mapo.data.geometry3k import Geometry3K


@pytest.mark.parametrize("newer", [True, False])
@pytest.mark.parametrize("split", ["train", "test"])
def test_answers_are_asked_for_themselves(tmp_path, newer, split):
    (tmp_path / "source" / "data").mkdir(parents=True)
    for name in ("train", "test"):
        rows = [
            {"images": [{"bytes": image_bytes("PNG"), "path": None}], "problem": f"<image>Find x. {name}", "answer": a}
            | ({"id": n + 7, "choices": ["1", "2", "3", "4"], "ground_truth": "C"} if newer else {})
            for n, a in enumerate(["3", r"2 \sqrt { 221 }"])
        ]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "source" / "data" / f"{name}-00000-of-00001.parquet")
    done = convert(Geometry3K({"split": split}), tmp_path / "source", tmp_path / "out")
    first, second = pq.read_table(done.file).to_pylist()
    assert first["prompt"][0]["content"] == f"<image>Find x. {split}"
    assert first["reward_model"] == {"style": "numeric", "ground_truth": "3", "options": None}
    assert second["reward_model"]["style"] == "math"
    assert [row["extra_info"]["id"] for row in (first, second)] == (["7", "8"] if newer else ["0", "1"])
