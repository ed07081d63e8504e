# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""MED: the plain question, or else the message without its instructions; boxes as answers are left out."""

from __future__ import annotations

import pytest

from tests.support.published import Converted, png, put
from verl_mapo.data.med import MED

SYSTEM = '# Tools\n<tools>\n{"name": "image_crop_and_zoom_in_tool"}\n</tools>\n<tool_call>{"name": "x"}</tool_call>'
HINT = "Use the image_crop_and_zoom_in_tool tool when you need to magnify a specific part of an image."
FORMATS = [
    "Detail your thought process and explain each step. Put the final answer within \\boxed{}.",
    f"{HINT} Solve this problem by reasoning through each step. Finally, place your answer in \\boxed{{}}. ",
    "Solve the problem in steps, providing reasoning within <think> </think> tags, and place the final answer within "
    "<answer> </answer> tags. Ensure the answer is formatted inside \\boxed{}. For example: <think>\nreasoning process "
    "here\n</think>\n<answer>\n\\boxed{answer here}\n</answer>.",
    "You cannot use any tools in this response. Place your answer in \\boxed{}.",
    f"{HINT}\n\nExplain each step of your thought process clearly.\nThe final answer should be boxed in \\boxed{{}}.",
    "Answer the preceding multiple choice question. The last line of your response should follow this format: 'The "
    "final answer is: $\\boxed{LETTER}$' (without quotes). Think step by step logically before answering.",
]
QUESTIONS = [
    "A pyramid is built of blocks as shown. Find the number of blocks in step 10.",
    "The stair is shown. Count its steps. Explain the reasoning of the man in the picture.",
    "Compute the number in the frame. The frame is $\\boxed{x + 2}$.",
]


def example(suffix: str, plain: bool = False, answer: str = "red") -> dict:
    user = {"role": "user", "content": f"<image>What colour is the third step? {suffix}"}
    return {
        "data_source": "vstar",
        "prompt": [{"role": "system", "content": SYSTEM}, user],
        "images": [{"bytes": png(), "path": None}],
        "reward_model": {
            "answer": answer,
            "ground_truth": f"\\boxed{{{answer}}}",
            "verifier": "mathverify",
            "style": "rule",
        },
        "extra_info": {"id": "7", "need_tools_kwargs": True} | ({"question": "What colour?"} if plain else {}),
        "agent_name": "tool_agent",
    }


@pytest.mark.parametrize("suffix", FORMATS)
def test_instructions_are_stripped_from_the_message(suffix, tmp_path):
    put(tmp_path / "a" / "data" / "train-00000.parquet", [example(suffix)])
    done = Converted(MED, tmp_path / "a")
    assert done.question == "<image>What colour is the third step?" and done.target == ("exact", "red")
    assert done.row["extra_info"]["more"] == {"data_source": "vstar", "verifier": "mathverify", "id": "7"}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("suffix", ["", FORMATS[0], FORMATS[1], FORMATS[-1]])
def test_sentences_of_the_question_stay(question, suffix):
    assert MED().question_of({"prompt": [{"role": "user", "content": f"{question}\n{suffix}"}]}) == question
    assert MED().question_of({"extra_info": {"question": question}}) == question


def test_plain_question_is_not_stripped():
    plain = "Read the sign. Solve this problem by reasoning through each step."
    assert MED().question_of({"extra_info": {"question": plain}, "prompt": []}) == plain


def test_plain_question_is_preferred(tmp_path):
    put(tmp_path / "a" / "train.parquet", [example(FORMATS[0], plain=True)])
    assert Converted(MED, tmp_path / "a").question == "<image>\nWhat colour?"


def test_boxes_as_answers_are_left_out(tmp_path):
    boxes = example("", plain=True, answer='[{"bbox_2d": [1, 2, 3, 4], "label": "ui"}]')
    put(tmp_path / "a" / "train.parquet", [boxes, example("", plain=True)])
    done = Converted(MED, tmp_path / "a", max_left_out=0.5)
    assert done.reasons == {"impossible_answer": 1} and done.target == ("exact", "red")
