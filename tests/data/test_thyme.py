# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Thyme-RL: the plain question and images as base64 text."""

from __future__ import annotations

from tests.support.published import Converted, base64_png, put
from verl_mapo.data.thyme import Thyme

SUFFIX = (
    '\n\n### User Image Path:** "/data/a.jpg"\n### User Image Size:** "90x30"\n\n### **Output Format (strict adherence '
    "required):**\n\n<think>Your detailed reasoning process, including any code, should go here.</think>\n"
    "<answer>Your final answer to the user's question goes here.</answer>\n"
)


def test_question_is_stripped_and_image_decoded(tmp_path):
    messages = [
        {"role": "system", "content": "Solve it, and optionally write Python code.\n<code>\n```python\n```\n</code>"},
        {"role": "user", "content": f"<image>\nWhat colour is it?{SUFFIX}"},
    ]
    plain = {"messages": messages, "images": [base64_png(90)], "solution": "black", "question": "What colour is it?"}
    put(tmp_path / "a" / "data" / "train-00000-of-00098.parquet", [plain, plain | {"question": None}])
    rows = Converted(Thyme, tmp_path / "a").rows
    assert {row["prompt"][0]["content"] for row in rows} == {"<image>\nWhat colour is it?"}
    assert rows[0]["reward_model"]["style"] == "exact" and rows[0]["images"] == rows[1]["images"]
