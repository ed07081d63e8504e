# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""ViRL39K as verl's own dataset reads it after the conversion."""

from __future__ import annotations

import shutil

import pytest
from omegaconf import OmegaConf
from PIL import Image
from verl.utils import hf_processor, hf_tokenizer
from verl.utils.dataset.rl_dataset import RLHFDataset

from verl_mapo.data import convert
from verl_mapo.data.virl39k import MAX_PIXELS, ViRL39K
from verl_mapo.settings import ConfigError


@pytest.fixture
def rows(virl39k, tiny_models, tmp_path) -> RLHFDataset:
    written = convert(ViRL39K(), virl39k, tmp_path / "out")
    assert (written.rows, written.images) == (3, 3)
    model = str(tiny_models["qwen2_5_vl"].folder)
    options = {"max_prompt_length": 2048, "filter_overlong_prompts": True, "filter_overlong_prompts_workers": 1}
    config = OmegaConf.create(options | {"cache_dir": str(tmp_path / "cache")})
    return RLHFDataset([str(written.file)], hf_tokenizer(model), config, hf_processor(model))


def test_verl_reads_every_row(rows):
    assert len(rows) == 3
    for index, answer in enumerate((r"\boxed{17^\circ}", r"\boxed{B}", r"\boxed{4}")):
        row = rows[index]
        assert row["data_source"] == "ViRL39K" and row["index"] == index
        assert row["reward_model"] == {"style": "math", "ground_truth": answer, "options": None}
        assert row["extra_info"] == {"index": index, "qid": f"q{index}", "category": "Math"}


def test_prompt_holds_images_by_path_and_the_instruction(rows):
    [message] = rows[1]["raw_prompt"]
    first, text, second, rest = message["content"]
    assert (first["type"], second["type"]) == ("image", "image") and first["max_pixels"] == MAX_PIXELS
    with Image.open(first["image"]) as left, Image.open(second["image"]) as right:
        assert left.size == right.size == (61, 40)
    assert text["text"] == "Compare." and rest["text"].endswith(r"put the answer in \boxed{}.")


def test_archive_of_images_is_unpacked(virl39k, tmp_path):
    shutil.make_archive(str(virl39k / "images"), "zip", virl39k, "images")
    shutil.rmtree(virl39k / "images")
    assert convert(ViRL39K(), virl39k, tmp_path / "out").images == 3


def test_missing_image_is_an_error_that_names_question_and_file(virl39k, tmp_path):
    (virl39k / "images" / "right.jpg").unlink()
    with pytest.raises(ConfigError, match="question q1 names the image images/right.jpg"):
        convert(ViRL39K(), virl39k, tmp_path / "out")


def test_question_with_another_number_of_images_is_an_error(virl39k):
    example = {"question": "<image><image>", "image": [], "qid": "q", "answer": "", "category": ""}
    with pytest.raises(ConfigError, match="q has 2 times <image> and 0 images"):
        ViRL39K()._row(virl39k, 0, example)
