# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""SenseNova-MARS: a folder for each part; questions that need a search are left out on purpose."""

from __future__ import annotations

from tests.support.published import Converted, png, put
from verl_mapo.data.sensenova_mars import SenseNovaMARS


def test_parts_are_read_from_their_folders(tmp_path):
    for part, answer in (("deepeyes_4k_train_mcq", "B"), ("fvqa_train", "Paris"), ("visual_probe_train", "a red car")):
        example = {
            "prompt": [{"role": "user", "content": f"<image>\n{part}?\nA. one\nB. two"}],
            "images": ["images/0.jpg"],
            "reward_model": {"ground_truth": answer},
            "index": 0,
        }
        folder = tmp_path / "a" / "train_qwen3_vl_8b" / part
        put(folder / "data.jsonl", [example])
        put(folder / "images" / "0.jpg", png(40 + len(part)))
    put(tmp_path / "a" / "train_qwen3_vl_8b.json", {"fvqa_train": {"root": "x"}})
    done = Converted(SenseNovaMARS, tmp_path / "a", max_left_out=0.5)
    assert done.reasons == {"other_tool": 1, "impossible_answer": 0} or done.reasons["other_tool"] == 1
    ids = [row["extra_info"]["id"] for row in done.rows]
    assert ids == ["deepeyes_4k_train_mcq-0", "visual_probe_train-0"]
    assert done.rows[0]["images"][0]["image"].endswith("deepeyes_4k_train_mcq/images/0.jpg")
    assert done.rows[0]["extra_info"]["more"] == {"part": "deepeyes_4k_train_mcq"}
