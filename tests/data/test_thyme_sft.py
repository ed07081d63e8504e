# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Thyme-SFT: code that crops becomes a zoom, a thought is closed and opened around it, other code is left out."""

from __future__ import annotations

import pytest

from tests.support.published import Converted, base64_png, put
from verl_mapo.data.thyme_sft import ThymeSFT

QUESTION = (
    '<image>\nWhat is the plate?\nA. S OT\nB. S QT\n\n### User Image Path:** "/data/17127.jpg"\n### User Image Size:** '
    '"400x200"\n\n### **Output Format (strict adherence required):**\n\n<think>Your detailed reasoning process, '
    "including any code, should go here.</think>\n<answer>Your final answer to the user's question goes here.</answer>"
)


def code(box: tuple[int, int, int, int], path: str = "/data/17127.jpg", more: str = "") -> str:
    x1, y1, x2, y2 = box
    return (
        "<code>\n```python\nimport cv2\nimport os\nfrom uuid import uuid4\n"
        f'image_path = "{path}"\nimage = cv2.imread(image_path)\nx1, y1, x2, y2 = {x1}, {y1}, {x2}, {y2}\n'
        f"cropped = image[y1:y2, x1:x2]\n{more}zoomed = cv2.resize(cropped, None, fx=2, fy=2)\n"
        'processed_path = os.path.join("/processed", f"17127_{str(uuid4())[:8]}.jpg")\n'
        "cv2.imwrite(processed_path, zoomed)\nprint(processed_path)\n```\n</code>"
    )


OUTPUT = "<sandbox_output><image></sandbox_output>"
END = "</think><answer>B</answer>"
BEFORE = "<think>The plate is small, so zooming in helps.\nHere is the Python code to crop it:\n"


def example(*parts: str, sizes: tuple[tuple[int, int], ...] = ((400, 200), (160, 80))) -> dict:
    return {"image": [base64_png(*size) for size in sizes], "question": QUESTION, "response": "".join(parts)}


def test_crop_becomes_a_zoom_between_two_thoughts(tmp_path):
    told = example(BEFORE, code((40, 40, 120, 80)), OUTPUT, "\nIt reads S QT.</think>\n\n<answer> **B** </answer>")
    put(tmp_path / "a" / "data" / "2round-0.parquet", [told])
    done = Converted(ThymeSFT, tmp_path / "a")
    assert done.question == "<image>\nWhat is the plate?\nA. S OT\nB. S QT" and done.sizes == [(400, 200)]
    assert done.row["turns"] == [
        "<think>The plate is small, so zooming in helps.</think>\n"
        '<tool_call>\n{"name": "zoom", "arguments": {"bbox_2d": [100, 200, 300, 400], "img_idx": 0}}\n</tool_call>',
        "<think>It reads S QT.</think>\n\n<answer> **B** </answer>",
    ]
    assert done.target == ("multiple_choice", "B") and done.row["reward_model"]["options"] == ["S OT", "S QT"]


@pytest.mark.parametrize("path", ['"/data/17127.jpg"', "'/data/17127.jpg'", "/data/17127.jpg ", "`/data/17127.jpg`"])
def test_code_that_opens_the_original_again_zooms_into_it(path, tmp_path):
    calls = (BEFORE, code((40, 40, 120, 80)), OUTPUT, "Wider.\n", code((0, 0, 120, 60)), OUTPUT, END)
    told = example(*calls, sizes=((400, 200), (160, 80), (240, 120)))
    told["question"] = QUESTION.replace('"/data/17127.jpg"', path)
    put(tmp_path / "a" / "data" / "2round-0.parquet", [told])
    _, second, _ = Converted(ThymeSFT, tmp_path / "a").row["turns"]
    assert '"bbox_2d": [0, 0, 300, 300], "img_idx": 0' in second


def test_code_that_opens_the_last_crop_zooms_into_it(tmp_path):
    second = code((20, 0, 100, 80), "/processed/17127_ab.jpg")
    told = example(
        *(BEFORE, code((40, 40, 120, 80)), OUTPUT, "Closer.\n", second, OUTPUT, "So B.</think><answer>B</answer>"),
        sizes=((400, 200), (160, 80), (160, 160)),
    )
    put(tmp_path / "a" / "data" / "2round-0.parquet", [told])
    first, second, last = Converted(ThymeSFT, tmp_path / "a").row["turns"]
    assert '"bbox_2d": [125, 0, 625, 1000], "img_idx": 1' in second and second.startswith("<think>Closer.</think>\n")
    assert last == "<think>So B.</think><answer>B</answer>" and '"img_idx": 0' in first


@pytest.mark.parametrize(
    "response",
    [
        ("<think>", code((40, 40, 120, 80), more="cropped = cv2.rotate(cropped, 0)\n"), OUTPUT, END),
        ("<think>", code((40, 40, 120, 60)), OUTPUT, END),
        ("<think>", code((40, 40, 120, 80)), END),
        ("<think>", code((40, 40, 120, 80)), OUTPUT, OUTPUT, END),
        ("<think><code>\nprint(2 + 3)\n</code><sandbox_output>5</sandbox_output>", END),
    ],
    ids=["rotated", "other form", "no output", "output without code", "computation"],
)
def test_other_code_is_left_out_on_purpose(response, tmp_path):
    plain = example("<think>It is B.</think><answer>B</answer>", sizes=((400, 200),))
    put(tmp_path / "a" / "data" / "x.parquet", [example(*response), plain])
    done = Converted(ThymeSFT, tmp_path / "a")
    assert done.reasons == {"other_tool": 1} and done.row["turns"] == ["<think>It is B.</think><answer>B</answer>"]


def test_code_without_an_image_is_left_out(tmp_path):
    plain = example("<think>It is B.</think><answer>B</answer>", sizes=((400, 200),))
    put(tmp_path / "a" / "data" / "x.parquet", [plain | {"image": []}, plain])
    assert Converted(ThymeSFT, tmp_path / "a").reasons == {"other_tool": 1}
