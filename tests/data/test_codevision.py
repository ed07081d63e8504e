# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""CodeVision-RL: the box of an image as stored, and none where the image was turned."""

from __future__ import annotations

import pytest

from tests.support.published import Converted, png, put
from verl_mapo.data.codevision import CodeVision


def example(index: int, transform: str = "", **extra: object) -> dict:
    system = {"role": "system", "content": '<tools>{"name": "code_image_tool"}</tools>'}
    return {
        "data_source": "chartqa",
        "prompt": [system, {"role": "user", "content": "<image>What is the value? Call code_image_tool."}],
        "images": [{"bytes": png(100, 50), "path": None}],
        "reward_model": {"ground_truth": ["12", "12.0"], "style": "rule"},
        "extra_info": {
            "question": "What is the value?",
            "index": index,
            "split": "train",
            "transform": transform,
            "required_transforms": ["crop"],
            **extra,
        },
    }


@pytest.mark.parametrize(("transform", "boxes"), [("", [[10, 5, 60, 45]]), ("rotate_90", None)])
def test_box_is_taken_where_its_frame_is_known(transform, boxes, tmp_path):
    put(tmp_path / "a" / "train_group_1.parquet", [example(4, transform, gt_bbox=[10, 5, 60, 45])])
    done = Converted(CodeVision, tmp_path / "a")
    assert done.question == "<image>\nWhat is the value?" and done.target == ("numeric", "12")
    extra = done.row["extra_info"]
    assert extra["boxes"] == boxes and extra["id"] == "0"
    assert extra["more"]["required_transforms"] == ["crop"] and extra["more"]["gt_bbox"] == [10, 5, 60, 45]
    assert extra["more"]["accepted_answers"] == ["12", "12.0"] and extra["more"]["index"] == 4


def test_equal_indices_in_several_files_are_no_duplicates(tmp_path):
    for group in (1, 2):
        put(tmp_path / "a" / f"train_group_{group}.parquet", [example(0)])
    rows = Converted(CodeVision, tmp_path / "a").rows
    assert [row["extra_info"]["boxes"] for row in rows] == [None, None]
