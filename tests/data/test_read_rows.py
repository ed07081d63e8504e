# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Converted rows are read back; every row that cannot be shown is named with its reason."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.converted import blank, photograph, row, write_rows

from verl_mapo.data.read_rows import count_rows, read_rows
from verl_mapo.data.reasons import LeftOut
from verl_mapo.settings import ConfigError


def test_row_has_its_images_and_its_prompt_in_parts(tmp_path):
    photograph().save(tmp_path / "a.jpg")
    blank(tmp_path / "b.png", (64, 32))
    files = tmp_path / "a.jpg", tmp_path / "b.png"
    rows = [row(0, *files, question="Is <image> in <image>?", boxes=[[1, 2, 3, 4]], asked={"max_pixels": 5000})]
    place = write_rows(tmp_path / "set", [*rows, row(1, question="How much is 1 + 1?")])
    first, second = read_rows(place)
    parts = [{"type": "text", "text": "Is "}, {"type": "image"}, {"type": "text", "text": " in "}]
    assert first.messages[0]["content"] == [*parts, {"type": "image"}, {"type": "text", "text": "?"}]
    assert [(picture.width, picture.height) for picture, _ in first.images] == [(240, 180), (64, 32)]
    assert first.images[0][1].max_pixels == 5000 and first.boxes == [[1, 2, 3, 4]]
    assert second.messages[0]["content"] == "How much is 1 + 1?" and second.images == []
    assert count_rows(place) == 2 and [each.id for each in read_rows(place / "train.parquet")] == ["q0", "q1"]


def test_rows_that_cannot_be_shown_are_named_by_reason(tmp_path):
    whole = tmp_path / "whole.jpg"
    photograph().save(whole)
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:-2000])
    blank(tmp_path / "thin.png", (2100, 10))
    rows = [
        row(0, tmp_path / "cut.jpg"),
        row(1, tmp_path / "absent.jpg"),
        row(2, tmp_path / "thin.png"),
        row(3, whole, question="There is no mark."),
        row(4, question="<image> of nothing"),
        row(5, whole, asked={"max_pixels": -1}),
        row(6, whole, options=["red"] * 27),
        row(7, whole, boxes=[[100, 100, 10, 10]]),
        row(8, whole, boxes=[[0, 0, 9999, 9999]]),
        row(9, whole, boxes=[[float("nan")] * 4]),
        row(10, question="Where?", boxes=[[1, 2, 3, 4]]),
    ]
    found = [*read_rows(write_rows(tmp_path / "set", rows))]
    reasons = ["broken_image", "missing_image", "thin_image", "image_marks", "image_marks", "malformed"]
    reasons += ["malformed", "box_outside", "box_outside", "malformed", "malformed"]
    assert [left.reason for left in found] == reasons
    assert [left.detail.partition(":")[0] for left in found] == [f"row {number}" for number in range(11)]
    assert "absent.jpg" in found[1].detail


def test_rows_in_another_form_are_malformed(tmp_path):
    raw = {"prompt": [{"role": "user", "content": "<image>?"}], "images": [{"bytes": b"\xff\xd8"}]}
    pq.write_table(pa.Table.from_pylist([raw]), tmp_path / "raw.parquet")
    pq.write_table(pa.Table.from_pylist([{"question": "?"}]), tmp_path / "sheet.parquet")
    assert [left.reason for left in read_rows(tmp_path)] == ["malformed", "missing_column"]


@pytest.mark.parametrize(
    "part",
    [
        {"reward_model": "rule"}, {"extra_info": "{}"}, {"extra_info": {"boxes": 5}},
        {"extra_info": {"boxes": [[1.0]]}}, {"images": [{"image": "file:///a\0b"}]}, {"reward_model": {"options": 5}},
        {"prompt": [{"role": "user"}]},
    ],
)  # fmt: skip
def test_part_of_a_row_in_another_form_is_malformed(tmp_path, part):
    place = write_rows(tmp_path, [row(0, question="?")])
    [whole] = pq.read_table(place / "train.parquet").to_pylist()
    pq.write_table(pa.Table.from_pylist([whole | part]), place / "train.parquet")
    assert [left.reason for left in read_rows(place)] == ["malformed"]


def test_broken_file_stands_for_its_rows(tmp_path):
    write_rows(tmp_path, [row(0, question="?"), row(1, question="?")], "a.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-40])
    kinds = [each.reason if isinstance(each, LeftOut) else each.id for each in read_rows(tmp_path)]
    assert kinds == ["q0", "q1", "broken_file"] and count_rows(tmp_path) is None


@pytest.mark.parametrize(("name", "fault"), [(".", "holds no .parquet file"), ("absent", "absent does not exist")])
def test_folder_without_rows_is_refused(tmp_path, name, fault):
    with pytest.raises(ConfigError, match=f"{fault}: give the folder"):
        next(read_rows(tmp_path / name))
