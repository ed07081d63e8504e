# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Rows for SFT: questions of the toy with the turns that answer them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from verl_mapo.toy.dialogue import END, FRAMES, Family, answer, call, thought


def write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as parquet."""
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def row_of(picture: str, turns: list[str], question: str = "What colour is the square?") -> dict[str, Any]:
    """A neutral row with one image and the column ``turns``."""
    return {
        "data_source": "test",
        "prompt": [{"role": "user", "content": f"<image>{question}"}],
        "images": [{"image": f"file://{picture}"}],
        "reward_model": {"style": "exact", "ground_truth": "red"},
        "extra_info": {"index": 0, "id": "0"},
        "turns": turns,
    }


def demonstrations(toy: Path, out: Path, family: Family, count: int) -> Path:
    """The first questions of a toy with the turns of a zoom at the target and the right answer.

    Args:
        toy: the toy's ``train.parquet``.
        out: the file to write.
        family: of the model, which decides the units of boxes.
        count: number of rows.
    """
    rows = []
    for row in pq.read_table(toy).slice(0, 2 * count).to_pylist():
        facts, truth = row["extra_info"], row["reward_model"]["ground_truth"]
        if facts["target_box"]:
            zoom = call(facts["target_name"], seen_box(facts["target_box"], row["images"][0], family))
            turns = [thought(facts["target_name"]) + zoom, answer(truth)]
            rows.append({**row, "turns": [turn.removesuffix(END) for turn in turns]})
    return write_rows(out, rows[:count])


def seen_box(box: list[int], image: str, family: Family) -> list[int]:
    """A box in the units of the model, from pixels of the image file."""
    from PIL import Image

    width, height = Image.open(image).size
    seen = FRAMES[family].scene_size if family == "qwen2_5_vl" else (1000, 1000)
    scale = (seen[0] / width, seen[1] / height)
    return [round(edge * scale[axis % 2]) for axis, edge in enumerate(box)]
