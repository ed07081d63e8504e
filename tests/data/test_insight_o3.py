# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""InSight-o3's sets, as published and as packed for verl: boxes in pixels of the stored image."""

from __future__ import annotations

import json

import pytest

from tests.support.published import Converted, png, put
from verl_mapo.data.base import LeftOut
from verl_mapo.data.insight_o3 import RegionLocalization, VStarCollage, boxes_in

COLLAGE = {
    "image": {"bytes": png(400, 200), "path": None},
    "question": "What is on the sign?",
    "answer": "Bakery",
    "qa_pairs": "[]",
    "n_layouts": 12,
    "layout_types": ["core"],
    "core_layout_coord": [0, 0, 200, 200],
    "core_target_bbox": [10, 20, 110, 70],
}
PROMPT = (
    "<image>\nLocate the legend.\nThink first, call **image_zoom_in_tool** if needed, then answer with the bbox "
    "coordinates in [x1, y1, x2, y2] format (or [0, 0, 0, 0] if you can't locate it). Format strictly as:  "
    "<think>...</think>"
)


def packed(path: str, answer: str, **extra: object) -> dict:
    system = {"role": "system", "content": "# Tools\n<tools>{}</tools>"}
    return {
        "data_source": "x",
        "prompt": [system, {"role": "user", "content": PROMPT}],
        "images": [{"image": f"file://{path}"}],
        "reward_model": {"ground_truth": answer, "style": "rule"},
        "extra_info": {"split": "train", "index": 0, "bboxes": [[10.0, 20.0, 110.0, 70.0]], **extra},
        "agent_name": "vsearcher",
    }


def test_published_collage_has_its_box(tmp_path):
    put(tmp_path / "a" / "data" / "train-0.parquet", [COLLAGE, COLLAGE | {"core_target_bbox": [10, 20, 450, 70]}])
    done = Converted(VStarCollage, tmp_path / "a", max_left_out=0.5)
    assert done.question == "<image>\nWhat is on the sign?" and done.target == ("exact", "Bakery")
    assert done.row["extra_info"]["boxes"] == [[10, 20, 110, 70]] and done.reasons == {"box_outside": 1}
    assert done.row["extra_info"]["more"] == {"n_layouts": 12}


def test_packed_collage_has_its_box(tmp_path):
    image = put(tmp_path / "images" / "0.png", png(400, 200))
    put(tmp_path / "a" / "train.parquet", [packed(str(image), "Bakery", question="What is on the sign?")])
    done = Converted(VStarCollage, tmp_path / "a")
    assert done.question == "<image>\nWhat is on the sign?" and done.row["extra_info"]["boxes"] == [[10, 20, 110, 70]]


@pytest.mark.parametrize("as_packed", [False, True])
def test_region_is_asked_for_in_thousandths(as_packed, tmp_path):
    image = put(tmp_path / "images" / "0.png", png(400, 200))
    example = packed(str(image), "[10, 20, 110, 70]", search_target="the legend.", question_id="5_1")
    if not as_packed:
        example = {
            "image": {"bytes": png(400, 200), "path": None},
            "question_id": "5_1",
            "region_description": "the legend.",
            "bbox": [10, 20, 110, 70],
        }
    put(tmp_path / "a" / "train.parquet", [example])
    done = Converted(RegionLocalization, tmp_path / "a")
    assert done.question.startswith("<image>\nLocate the legend. Answer with its box as [x1, y1, x2, y2]")
    style, truth = done.target
    assert style == "verl_mapo.rewards.box_answers:box_overlaps" and json.loads(truth) == [25, 100, 275, 350]
    assert done.row["extra_info"]["boxes"] == [[10, 20, 110, 70]] and done.row["extra_info"]["id"] == "5_1"


def test_region_without_description_is_left_out(tmp_path):
    example = {"image": {"bytes": png(400, 200), "path": None}, "question_id": "5_1", "bbox": [10, 20, 110, 70]}
    put(tmp_path / "a.parquet", [example | {"region_description": text} for text in ("the legend.", " ", ".")])
    assert Converted(RegionLocalization, tmp_path, max_left_out=1).reasons == {"empty_question": 2}


@pytest.mark.parametrize("value", [[1, 2, 3, 4], [[1, 2, 3, 4]], "[1, 2, 3, 4]", "[[1, 2, 3, 4]]"])
def test_boxes_are_read_in_every_form(value):
    assert boxes_in(value) == [[1, 2, 3, 4]]


@pytest.mark.parametrize("value", ["1, 2", [], None, [["a", 1, 2, 3]]])
def test_what_is_no_box_is_malformed(value):
    with pytest.raises(LeftOut, match="malformed"):
        boxes_in(value)
