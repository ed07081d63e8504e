# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Mini-o3's cold start: groundings become zooms, observations name the images."""

from __future__ import annotations

import json

import pytest

from tests.support.published import Converted, png, put
from verl_mapo.data.mini_o3_coldstart import MiniO3Coldstart

SYSTEM = (
    "You are a helpful assistant. Output your thinking process within the <think> and </think> tags. You can zoom in "
    'by outputing <grounding>{"bbox_2d": [x0, y0, x1, y1], "source": "original_image"}</grounding>.'
)


def grounding(box: list[float], source: str) -> str:
    return f"<grounding>{json.dumps({'bbox_2d': box, 'source': source})}</grounding>"


def observation(number: int) -> dict:
    shown = f"here is the the zoom-in image (Observation {number}):\n<image>.\nContinue."
    return {"from": "human", "value": f"After the above Action {number - 1}, {shown}"}


def dialogue(*said: str, observations: int = 2) -> list[dict]:
    messages = [
        {"from": "system", "value": SYSTEM},
        {"from": "human", "value": "<image>\nQuestion: What colour is the coat?"},
    ]
    for number, text in enumerate(said):
        messages.append({"from": "gpt", "value": text})
        if number < min(len(said) - 1, observations):
            messages.append(observation(number + 1))
    return messages


FULL = dialogue(
    f"<think>Closer.</think>{grounding([0.1, 0.2, 0.3, 0.4], 'original_image')}",
    f"<think>Closer still.</think>{grounding([0.25, 0, 0.75, 1], 'observation_1')}",
    "<think>Orange.</think><answer> Orange. </answer>",
)


def example(conversations: str, sample: int = 3) -> dict:
    return {
        "images": [{"bytes": png(80), "path": "a.png"}, {"bytes": png(8), "path": ""}, {"bytes": png(4), "path": ""}],
        "image_names": ["original_image.jpg", "observation_1.jpg", "observation_2.jpg"],
        "conversations": conversations,
        "data_source": "visual_probe",
        "sample_index": sample,
        "rollout_index": 4,
    }


@pytest.mark.parametrize("write", [json.dumps, repr])
def test_groundings_become_zooms(write, tmp_path):
    put(tmp_path / "a" / "data" / "train-0.parquet", [example(write(FULL))])
    done = Converted(MiniO3Coldstart, tmp_path / "a")
    assert done.question == "<image>\nWhat colour is the coat?" and done.sizes == [(80, 30)]
    assert done.row["turns"] == [
        '<think>Closer.</think>\n<tool_call>\n{"name": "zoom", "arguments": {"bbox_2d": [100, 200, 300, 400], '
        '"img_idx": 0}}\n</tool_call>',
        '<think>Closer still.</think>\n<tool_call>\n{"name": "zoom", "arguments": {"bbox_2d": [250, 0, 750, 1000], '
        '"img_idx": 1}}\n</tool_call>',
        "<think>Orange.</think><answer> Orange. </answer>",
    ]
    assert done.target == ("exact", "Orange.") and done.row["extra_info"]["id"] == "visual_probe:3:4"


def test_beginnings_and_other_sources_are_left_out(tmp_path):
    unseen = dialogue(grounding([0, 0, 1, 1], "observation_1"), "<answer>red</answer>")
    outside = dialogue(grounding([0, 0, 700, 900], "original_image"), "<answer>red</answer>")
    told = [FULL[:3], unseen, outside, "no literal", FULL]
    rows = [example(one if isinstance(one, str) else json.dumps(one), number) for number, one in enumerate(told)]
    put(tmp_path / "a" / "data" / "train-0.parquet", rows)
    done = Converted(MiniO3Coldstart, tmp_path / "a", max_left_out=0.5)
    assert done.reasons == {"unfinished": 1, "other_tool": 1, "box_outside": 1, "malformed": 1}
    assert done.row["extra_info"]["id"] == "visual_probe:4:4"
