# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""PixelReasoner-RL: images from an archive, videos left out on purpose."""

from __future__ import annotations

import io
import zipfile

import pytest

from tests.support.published import Converted, png, put
from verl_mapo.data.pixel_reasoner import PixelReasoner

GUIDELINES = (
    "\n\nGuidelines: Understand the given visual information and the user query. Determine if it is beneficial to "
    "employ the given visual operations (tools). For a video, we can look closer by `select_frames`. For an image, we "
    "can look closer by `crop_image`. Reason with the visual information step by step, and put your final answer "
    "within \\boxed{}."
)


@pytest.mark.parametrize("folder", ["", "images/"])
def test_images_are_taken_and_videos_left_out(folder, tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("images/plate.jpg", png(70))
    put(tmp_path / "a" / "images.zip", archive.getvalue())
    examples = [
        {
            "question": f"Which one?\nA. one\nB. two{GUIDELINES}",
            "answer": "B",
            "image": [f"{folder}plate.jpg"],
            "qid": "i1",
            "is_video": False,
        },
        {"question": "When?", "answer": "C", "image": ["videos/1.jpg"], "qid": "v1", "is_video": True},
    ]
    put(tmp_path / "a" / "release.parquet", examples)
    done = Converted(PixelReasoner, tmp_path / "a")
    assert done.question == "<image>\nWhich one?\nA. one\nB. two" and done.sizes == [(70, 30)]
    assert done.target == ("multiple_choice", "B") and done.row["reward_model"]["options"] == ["one", "two"]
    assert done.reasons == {"video": 1} and done.row["extra_info"]["id"] == "i1"


def test_answer_may_be_a_list(tmp_path):
    example = {"question": "How many?", "answer": ["3"], "image": ["a.png"], "qid": "q", "is_video": False}
    put(tmp_path / "a" / "a.png", png())
    put(tmp_path / "a" / "release.parquet", [example])
    assert Converted(PixelReasoner, tmp_path / "a").target == ("numeric", "3")
