# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Your own files, with a map of columns."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.conftest import image_bytes

from verl_mapo.data import convert
from verl_mapo.data.columns import Columns
from verl_mapo.settings import ConfigError


def written(folder: Path, examples: list[dict], ending: str = "jsonl") -> Path:
    (folder / "source").mkdir()
    file = folder / "source" / f"mine.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(examples), file)
    else:
        file.write_text(json.dumps(examples) if ending == "json" else "\n".join(map(json.dumps, examples)))
    (folder / "source" / "a.jpg").write_bytes(image_bytes(size=(200, 100)))
    return folder / "source"


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet"])
def test_usual_names_need_no_option(tmp_path, ending):
    source = written(tmp_path, [{"question": "Which?", "answer": "red", "images": ["a.jpg"]}], ending)
    [row] = pq.read_table(convert(Columns(), source, tmp_path / "out").file).to_pylist()
    assert row["prompt"][0]["content"] == "<image>\nWhich?" and row["data_source"] == "columns"
    assert row["images"] == [{"image": f"file://{source / 'a.jpg'}"}]
    assert row["reward_model"] == {"style": "exact", "ground_truth": "red", "options": None}


def test_a_decimal_number_of_parquet_is_an_answer(tmp_path):
    source = written(tmp_path, [{"question": "How much?", "answer": Decimal("1.50"), "images": ["a.jpg"]}], "parquet")
    [row] = pq.read_table(convert(Columns(), source, tmp_path / "out").file).to_pylist()
    assert row["reward_model"] == {"style": "numeric", "ground_truth": "1.50", "options": None}


def test_every_column_is_mapped(tmp_path):
    data = "data:image/jpeg;base64," + base64.b64encode(image_bytes(size=(200, 100))).decode()
    example = {
        "problem": "Which?", "reward": {"truth": ["dog"]}, "picture": data, "choices": {"A": "cat", "B": "dog"},
        "regions": [0.25, 0.1, 0.5, 0.2], "name": 9, "hardness": 0.3, "from": "pets",
    }  # fmt: skip
    options = {
        "question": "problem", "answer": "reward.truth", "images": "picture", "options": "choices",
        "boxes": "regions", "box_unit": "fractions", "box_form": "xywh", "id": "name", "difficulty": "hardness",
        "data_source": "from",
    }  # fmt: skip
    source = written(tmp_path, [example])
    [row] = pq.read_table(convert(Columns(options), source, tmp_path / "out").file).to_pylist()
    assert row["reward_model"] == {"style": "multiple_choice", "ground_truth": "B", "options": ["cat", "dog"]}
    assert row["extra_info"]["boxes"] == [[50, 10, 150, pytest.approx(30)]]
    assert (row["extra_info"]["id"], row["extra_info"]["difficulty"], row["data_source"]) == ("9", 0.3, "pets")


def test_style_and_files_are_chosen(tmp_path):
    source = written(tmp_path, [{"question": "2 + 2?", "answer": 4}])
    (source / "other.jsonl").write_text("no JSON")
    options = {"images": None, "style": "math", "files": "mine.*", "name": "sums"}
    [row] = pq.read_table(convert(Columns(options), source, tmp_path / "out").file).to_pylist()
    assert row["reward_model"]["style"] == "math" and row["data_source"] == "sums" and row["images"] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"question": "problem"}, "--option question=problem is refused: of the first 1 examples .* have the columns"),
        ({"images": "img"}, "--option images=img is refused.*question, answer, images"),
        ({"boxes": "box.regions"}, "--option boxes=box.regions is refused"),
        ({"style": "exakt"}, "--option style=exakt is refused: there is no answer check 'exakt': did you mean 'exact'"),
        ({"box_unit": "percent"}, "--option.box_unit='percent' is refused"),
        ({"quesion": "x"}, "did you mean --option.question"),
    ],
)
def test_wrong_map_stops_with_a_sentence(tmp_path, options, message):
    source = written(tmp_path, [{"question": "Which?", "answer": "red", "images": ["a.jpg"]}])
    with pytest.raises(ConfigError, match=message):
        convert(Columns(options), source, tmp_path / "out")


def test_a_column_that_the_first_example_leaves_out_is_found_in_a_later_one(tmp_path):
    plain = {"question": "Which?", "answer": "red", "images": ["a.jpg"]}
    source = written(
        tmp_path, [plain, {"answer": "red"}, plain | {"choices": ["red", "blue"]}, plain | {"choices": ""}]
    )
    done = convert(Columns({"options": "choices"}), source, tmp_path / "out", max_left_out=1)
    assert done.styles == {"exact": 2, "multiple_choice": 1} and done.left_out == {"missing_image": 1}


@pytest.mark.parametrize("images", [None, "images"])
def test_examples_with_a_video_are_left_out_on_purpose(tmp_path, images):
    example = {"question": "Which?", "answer": "red", "images": ["a.jpg"]}
    videos = [{"question": "<video>\nWhich?"}, {"videos": ["a.mp4"]}, {"videos": [{"video": "a.mp4"}]}]
    empty = [{"videos": []}, {"videos": None}, {"videos": ""}]
    source = written(tmp_path, [example | more for more in [*videos, *empty]])
    done = convert(Columns({"images": images}), source, tmp_path / "out", max_left_out=0)
    assert done.left_out == {"video": 3} and done.rows == 3


def test_faulty_examples_are_left_out_by_reason(tmp_path):
    good = {"question": "Which?", "answer": "red", "images": ["a.jpg"], "boxes": None}
    source = written(
        tmp_path,
        [
            good,
            good | {"images": ["b.jpg"]},
            good | {"answer": {"a": 1}},
            good | {"answer": None},
            good | {"answer": ["red", "blue"]},
            good | {"boxes": [[0, 0, 300, 50]]},
            good | {"images": [], "boxes": [[0, 0, 1, 1]]},
            good | {"images": None},
            good | {"images": ""},
            good | {"answer": float("nan")},
            good | {"boxes": {"x1": 1}},
            good | {"images": [], "answer": "green"},
            good | {"question": "<image><image> Which?"},
            good | {"boxes": [0.1, 0.1, 0.5, 0.5]},
            good | {"choices": ["red", *map(str, range(26))]},
        ],
    )
    done = convert(Columns({"boxes": "boxes", "options": "choices"}), source, tmp_path / "out", max_left_out=1)
    assert (done.rows, done.images) == (2, 1)
    expected = {"missing_image": 4, "malformed": 5, "missing_column": 2, "box_outside": 1, "image_marks": 1}
    assert done.left_out == expected
