# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""DeepEyes-47k: rows of the exact schema of all three files, and the real sample where it is beside the checkout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.conftest import image_bytes

from verl_mapo.data import convert
from verl_mapo.data.deepeyes import DeepEyes
from verl_mapo.rewards.answers import find_check
from verl_mapo.rollout.prompts import declare
from verl_mapo.rollout.row_declarations import declared_tools
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError
from verl_mapo.tools.coordinates import CoordinateSpace

SAMPLES = [folder / "shared" / "samples" / "deepeyes_4rows.parquet" for folder in Path(__file__).parents]
SAMPLE = next((file for file in SAMPLES if file.exists()), SAMPLES[0])
SYSTEM = "You are a helpful assistant.\n\n# Tools\n<tools>\n{}\n</tools>\n<tool_call>\n{}\n</tool_call>"
SUFFIX = (
    "\nThink first, call **image_zoom_in_tool** if needed, then answer. Format strictly as:  <think>...</think>  "
    "<tool_call>...</tool_call> (if tools needed)  <answer>...</answer> "
)
SCHEMA = pa.schema(
    {
        "data_source": pa.large_string(),
        "prompt": pa.list_(pa.struct({"content": pa.string(), "role": pa.string()})),
        "images": pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        "ability": pa.large_string(),
        "env_name": pa.large_string(),
        "reward_model": pa.struct({"ground_truth": pa.string(), "style": pa.string()}),
        "extra_info": pa.struct(
            {"answer": pa.string(), "index": pa.string(), "question": pa.string(), "split": pa.string()}
        ),
    }
)
FILES = {
    "data_0.1.2_visual_toolbox_v2.parquet": [
        ("vstar", "Is the car on the left side of the person?", "No, the car is not on the left side of the person."),
        ("vstar", "Is the dog to the left or right of the bottle?", "The dog is to the left of the bottle."),
    ],
    "data_v0.8_visual_toolbox_v2.parquet": [("chart", "What is shown?\nA) growth\nB) decline", "B")],
    "data_thinklite_reasoning_acc.parquet": [("thinklite_eureka", "What is the area?", "12.5")],
}


def published(source: str, index: int, question: str, answer: str) -> dict:
    suffix = "" if source == "thinklite_eureka" else SUFFIX
    return {
        "data_source": source,
        "prompt": [
            {"content": SYSTEM, "role": "system"},
            {"content": f"<image>\n{question}{suffix}", "role": "user"},
        ],
        "images": [{"bytes": image_bytes(colour="red" if source == "vstar" else "blue"), "path": "/x/1.jpg"}],
        "ability": "vl_chart",
        "env_name": "visual_toolbox_v2",
        "reward_model": {"ground_truth": answer, "style": "model"},
        "extra_info": {"answer": answer, "index": str(index), "question": question, "split": "train"},
    }


def test_rows_of_all_three_files_hold_the_question_alone(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name, rows in FILES.items():
        examples = [published(kind, index, *rest) for index, (kind, *rest) in enumerate(rows)]
        pq.write_table(pa.Table.from_pylist(examples, SCHEMA), source / name)
    done = convert(DeepEyes(), source, tmp_path / "out")
    rows = pq.read_table(done.file).to_pylist()
    asked = [question for part in FILES.values() for _, question, _ in part]
    assert [row["prompt"] for row in rows] == [[{"role": "user", "content": f"<image>\n{one}"}] for one in asked]
    assert [row["reward_model"]["style"] for row in rows] == ["yes_no", "judge", "multiple_choice", "numeric"]
    assert rows[2]["reward_model"] == {
        "style": "multiple_choice",
        "ground_truth": "B",
        "options": ["growth", "decline"],
    }
    assert [row["data_source"] for row in rows] == ["DeepEyes-vstar"] * 2 + [
        "DeepEyes-chart",
        "DeepEyes-thinklite_eureka",
    ]
    assert [row["extra_info"]["id"] for row in rows] == ["vstar-0", "vstar-1", "chart-0", "thinklite_eureka-0"]
    assert len({row["images"][0]["image"] for row in rows}) == 2, "equal pictures are one file"


def test_folder_without_a_published_file_is_an_error(tmp_path):
    (tmp_path / "other.parquet").touch()
    with pytest.raises(ConfigError, match="data_0.1.2_visual_toolbox_v2.parquet or"):
        convert(DeepEyes(), tmp_path, tmp_path / "out")


@pytest.mark.skipif(not SAMPLE.exists(), reason="the real sample is not beside the checkout")
def test_real_rows_are_converted_and_right_answers_are_right(tmp_path):
    (tmp_path / "source").mkdir()
    shutil.copy(SAMPLE, tmp_path / "source" / DeepEyes.files[0].removeprefix("**/"))
    done = convert(DeepEyes(), tmp_path / "source", tmp_path / "out")
    assert (done.rows, done.styles, done.left_out) == (4, {"yes_no": 3, "judge": 1}, {})
    rows = pq.read_table(done.file).to_pylist()
    examples = pq.read_table(SAMPLE).to_pylist()
    for row, example in zip(rows, examples, strict=True):
        assert row["prompt"][0]["content"] == f"<image>\n{example['extra_info']['question']}"
        assert Path(row["images"][0]["image"].removeprefix("file://")).read_bytes() == example["images"][0]["bytes"]
        declared = declare(
            row["prompt"], VisualToolSettings().build_tools(CoordinateSpace.pixels, 28).values(), "before"
        )
        assert declared_tools(row["prompt"]) == [] and declared_tools(declared) == ["zoom"], "the run's tools, once"
        target = row["reward_model"]
        check = find_check(target["style"])
        if target["style"] == "yes_no":
            assert check("No", target["ground_truth"]) and not check("Yes", target["ground_truth"])
        else:
            assert target["ground_truth"] == "The dog is to the left of the bottle."
            assert not check("left", target["ground_truth"]), "a judge's case"
    assert json.loads(rows[0]["extra_info"]["more"]) == {"ability": "vl_chart"}
