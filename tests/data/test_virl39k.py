# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""ViRL39K as verl's own dataset reads it after the conversion."""

from __future__ import annotations

import json
import shutil

import pyarrow.parquet as pq
import pytest
from data.conftest import write_virl39k
from omegaconf import OmegaConf
from PIL import Image
from verl.utils import hf_processor, hf_tokenizer
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.utils.dataset.vision_utils import process_image

from verl_mapo.data import convert
from verl_mapo.data.virl39k import ViRL39K


@pytest.fixture(scope="module", params=[None, 5000])
def rows(tiny_models, tmp_path_factory, request) -> RLHFDataset:
    folder = tmp_path_factory.mktemp("virl39k")
    written = convert(ViRL39K(), write_virl39k(folder / "published"), folder / "out", max_pixels=request.param)
    assert (written.rows, written.images) == (3, 3)
    model = str(tiny_models["qwen2_5_vl"].folder)
    options = {"max_prompt_length": 2048, "filter_overlong_prompts": True, "filter_overlong_prompts_workers": 1}
    config = OmegaConf.create(options | {"cache_dir": str(folder / "cache")})
    return RLHFDataset([str(written.file)], hf_tokenizer(model), config, hf_processor(model))


def test_verl_reads_every_row(rows):
    assert len(rows) == 3
    targets = [("numeric", r"\boxed{17^\circ}"), ("multiple_choice", r"\boxed{B}"), ("numeric", r"\boxed{4}")]
    for index, (style, answer) in enumerate(targets):
        row = rows[index]
        assert row["data_source"] == "ViRL39K" and row["index"] == index
        assert row["reward_model"] == {"style": style, "ground_truth": answer, "options": None}
        extra = row["extra_info"]
        assert (extra["id"], extra["difficulty"], extra["boxes"]) == (f"q{index}", 0.75, None)
        assert json.loads(extra["more"]) == {"category": "Math", "source": "test"}


def test_prompt_holds_question_and_images_by_path(rows):
    [message] = rows[1]["raw_prompt"]
    first, text, second = message["content"]
    assert (first["type"], second["type"]) == ("image", "image") and first.get("max_pixels") in (None, 5000)
    paths = [part["image"].removeprefix("file://") for part in (first, second)]
    with Image.open(paths[0]) as left, Image.open(paths[1]) as right:
        assert left.size == right.size == (61, 40)
    assert text["text"] == "Compare."


def test_verl_reads_the_images_for_supervised_training_too(rows):
    for image in rows.dataframe[1]["images"]:
        assert process_image(dict(image)).size == (84, 56), "61 x 40, enlarged to 4 tokens of 28 x 28"


def test_rows_for_a_single_turn_have_the_instruction_and_one_check(virl39k, tmp_path):
    rows = pq.read_table(convert(ViRL39K({"single_turn": "true"}), virl39k, tmp_path / "out").file).to_pylist()
    assert {row["reward_model"]["style"] for row in rows} == {"math"}
    assert all(row["prompt"][0]["content"].endswith(r"put the answer in \boxed{}.") for row in rows)


def test_archive_of_images_is_unpacked(virl39k, tmp_path):
    shutil.make_archive(str(virl39k / "images"), "zip", virl39k, "images")
    shutil.rmtree(virl39k / "images")
    assert convert(ViRL39K(), virl39k, tmp_path / "out").images == 3


def test_example_whose_image_is_missing_is_left_out(virl39k, tmp_path):
    (virl39k / "images" / "right.jpg").unlink()
    done = convert(ViRL39K(), virl39k, tmp_path / "out", max_left_out=0.5)
    assert done.rows == 2 and done.left_out == {"missing_image": 1}
    [left] = map(json.loads, (tmp_path / "out" / "left_out.jsonl").read_text().splitlines())
    assert left["id"] == "q1" and left["detail"].endswith("images/right.jpg does not exist")
