# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""PixelReasoner-SFT: crops in parts or pixels become zooms; videos and other tools are left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.data.test_pixel_reasoner import GUIDELINES
from tests.support.published import Converted, png, put
from verl_mapo.data.pixel_reasoner_sft import PixelReasonerSFT


def message(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(parts)}


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments}, separators=(',', ':'))}</tool_call>"


def dialogue(qid: str, first: str, **question: Any) -> dict[str, Any]:
    said = question or {"image": "images/q-0.jpg"}
    return {
        "qid": qid,
        "message_list": [
            message("system", {"text": "You are a helpful assistant.\n\n# Tools\n<tools>{}</tools>"}),
            message("user", {"text": f"What is the name?{GUIDELINES}"}, said),
            message("assistant", {"text": first}),
            message("user", {"text": "Here is the cropped image:"}, {"image": "images/q-1.jpg"}),
            message("assistant", {"text": "It says so.\n\n\\boxed{Bakery}"}),
        ],
    }


@pytest.fixture
def folder(tmp_path):
    put(tmp_path / "a" / "images" / "q-0.jpg", png(200, 100))
    put(tmp_path / "a" / "images" / "q-1.jpg", png(50, 25))
    return tmp_path / "a"


@pytest.mark.parametrize(
    ("text", "box", "image"),
    [
        (call("crop_image_normalized", bbox_2d=[0.1, 0.2, 0.5, 0.6], target_image=1), [100, 200, 500, 600], 0),
        (call("crop_image", bbox_2d=[20, 20, 100, 60], target_image=1), [100, 200, 500, 600], 0),
    ],
)
def test_crops_become_zooms(text, box, image, folder):
    put(folder / "release.json", [dialogue("q1", f"Let me look.\n{text}")])
    done = Converted(PixelReasonerSFT, folder)
    first, last = done.row["turns"]
    arguments = {"bbox_2d": box, "img_idx": image}
    assert first == f"Let me look.\n<tool_call>\n{json.dumps({'name': 'zoom', 'arguments': arguments})}\n</tool_call>"
    assert last == "It says so.\n\n\\boxed{Bakery}" and done.question == "<image>\nWhat is the name?"
    assert done.target == ("exact", "Bakery") and done.sizes == [(200, 100)] and done.row["extra_info"]["id"] == "q1"


def test_crop_of_a_crop_counts_its_pixels(folder):
    two = dialogue("q1", call("crop_image_normalized", bbox_2d=[0, 0, 1, 1], target_image=1))
    second = call("crop_image", bbox_2d=[10, 5, 50, 25], target_image=2)
    asked = message("user", {"text": "Here is the cropped image:"}, {"image": "images/q-1.jpg"})
    two["message_list"][4:4] = [message("assistant", {"text": second}), asked]
    put(folder / "release.json", [two])
    assert '{"bbox_2d": [200, 200, 1000, 1000], "img_idx": 1}' in Converted(PixelReasonerSFT, folder).row["turns"][1]


def test_dialogue_without_a_call_is_kept(folder):
    plain = dialogue("q1", "")
    plain["message_list"] = [*plain["message_list"][:2], message("assistant", {"text": "\\boxed{C}"})]
    put(folder / "release.json", [plain])
    assert Converted(PixelReasonerSFT, folder).row["turns"] == ["\\boxed{C}"]


def test_videos_and_other_tools_are_left_out_on_purpose(folder):
    kept = dialogue("kept", call("crop_image_normalized", bbox_2d=[0, 0, 1, 1], target_image=1))
    frames = dialogue("v", call("select_frames", target_frames=[1]), video=["videos/1.jpg", "videos/2.jpg"])
    other = dialogue("o", call("select_frames", target_frames=[1]))
    unseen = dialogue("u", call("crop_image_normalized", bbox_2d=[0, 0, 1, 1], target_image=2))
    put(folder / "release.json", [frames, other, unseen, kept])
    done = Converted(PixelReasonerSFT, folder)
    assert done.reasons == {"video": 1, "other_tool": 2} and done.row["extra_info"]["id"] == "kept"
