# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""verl's own dataset reads the parquet files."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf
from PIL import Image
from verl.utils import hf_processor, hf_tokenizer
from verl.utils.dataset.rl_dataset import RLHFDataset

from verl_mapo.toy.dataset import write_split
from verl_mapo.toy.tiny_vlm import build_processor
from verl_mapo.toy.visual_search import VisualSearch

TASK = VisualSearch(no_zoom_share=0.5)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> RLHFDataset:
    folder, model = tmp_path_factory.mktemp("scenes"), tmp_path_factory.mktemp("model")
    build_processor("qwen2_5_vl").save_pretrained(model)
    (model / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    options = {"max_prompt_length": 512, "filter_overlong_prompts_workers": 1, "image_patch_size": 14}
    config = OmegaConf.create(options | {"cache_dir": str(folder / "cache")})
    path = write_split(TASK, 0, "train", 12, folder, folder)
    return RLHFDataset([str(path)], hf_tokenizer(str(model)), config, hf_processor(str(model)))


def test_verl_reads_every_row(rows):
    assert len(rows) == 12
    for index in range(12):
        row, scene = rows[index], TASK.scene(0, "train", index)
        assert row["data_source"] == row["ability"] == "visual_search" and row["index"] == index
        assert row["reward_model"] == {"style": "exact", "ground_truth": scene.question.answer}
        extra, target = row["extra_info"], scene.question.target
        assert (extra["split"], extra["kind"], extra["needs_zoom"]) == (
            "train",
            scene.question.kind,
            target is not None and scene.question.kind == "letter",
        )
        assert extra["target_box"] == (list(target.box) if target else [])
        assert extra["target_name"] == (target.name if target else "")


def test_prompt_holds_the_path_of_the_original_image(rows):
    system, user = rows[3]["raw_prompt"]
    assert system["role"] == "system" and "You are a helpful assistant." in str(system["content"])
    picture, text = user["content"]
    assert picture["type"] == "image" and text["text"] == TASK.scene(0, "train", 3).question.text
    with Image.open(picture["image"]) as image:
        assert image.tobytes() == TASK.scene(0, "train", 3).image.tobytes()


def test_rows_hold_the_final_paths_of_images(tmp_path):
    import pyarrow.parquet as pq

    path = write_split(TASK, 0, "test", 1, tmp_path, tmp_path / "later")
    [image] = pq.read_table(path).to_pylist()[0]["images"]
    assert image == str(tmp_path / "later" / "images" / "test_00000.png")


def test_scenes_do_not_depend_on_the_number_of_processes(tmp_path):
    written = []
    for workers in (1, 3):
        folder = tmp_path / str(workers)
        folder.mkdir()
        write_split(TASK, 0, "train", 70, folder, tmp_path / "final", workers)
        files = (file for file in folder.rglob("*") if file.is_file())
        written.append({file.relative_to(folder): file.read_bytes() for file in files})
    assert len(written[0]) == 71 and written[0] == written[1]
