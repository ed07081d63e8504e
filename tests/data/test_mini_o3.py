# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Mini-o3's sets: paths of images, a question behind its mark, answers in free words."""

from __future__ import annotations

import pytest

from tests.support.published import Converted, png, put
from verl_mapo.data.drim import VisualReasonHard
from verl_mapo.data.mini_o3 import DeepEyes4K, VisualProbe

ANSWERS = ["White.", "The dog is to the left of the bottle.", "Yes, it is.", "17", "B"]


@pytest.mark.parametrize("dataset", [VisualProbe, DeepEyes4K, VisualReasonHard])
def test_examples_become_rows(dataset, tmp_path):
    source = tmp_path / "a"
    for number, answer in enumerate(ANSWERS):
        put(source / "data" / f"{number}.jpg", png(50 + number))
    examples = [
        {
            "images": [f"data/{number}.jpg"],
            "doc_id": f"train_{number}",
            "problem": "<image>\nQuestion: What is this?",
            "solution": answer,
            "data_source": "visual_probe",
        }
        for number, answer in enumerate(ANSWERS)
    ]
    put(source / "train.json", examples)
    put(source / "val.json", [{"problem": "not read"}])
    rows = Converted(dataset, source).rows
    styles = [row["reward_model"]["style"] for row in rows]
    assert styles == ["exact", "judge", "yes_no", "numeric", "multiple_choice"]
    assert {row["prompt"][0]["content"] for row in rows} == {"<image>\nWhat is this?"}
    assert rows[2]["images"] == [{"image": f"file://{source}/data/2.jpg"}] and rows[2]["data_source"] == dataset.name
    assert rows[2]["extra_info"]["id"] == "train_2"
    assert rows[2]["extra_info"]["more"] == {"data_source": "visual_probe"}


def test_missing_image_is_counted(tmp_path):
    example = {"images": ["data/no.jpg"], "doc_id": "a", "problem": "<image>Why?", "solution": "x", "data_source": "s"}
    kept = {**example, "doc_id": "b", "images": ["data/yes.jpg"]}
    put(tmp_path / "a" / "data" / "yes.jpg", png())
    put(tmp_path / "a" / "train.json", [example, kept])
    done = Converted(VisualProbe, tmp_path / "a", max_left_out=0.5)
    assert done.reasons == {"missing_image": 1} and done.row["extra_info"]["id"] == "b"
