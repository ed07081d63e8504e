# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The sizes at which families see images are those of their processors."""

from __future__ import annotations

import json

import pytest
from omegaconf import OmegaConf

from verl_mapo.data.families import RELEASED, Family, families_of
from verl_mapo.planning.compose import PRIMARY, composed
from verl_mapo.rollout.images import processor_resizes
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError


def test_released_families_have_the_limits_of_their_processors(released_models):
    config = composed(PRIMARY, [])
    table = {family.model_type: family for family in RELEASED}
    for model in released_models.values():
        expected, _ = processor_resizes(VisualToolSettings(), model.processor.image_processor, {})
        assert Family.of_folder(model.folder).resize(config) == table[model.model_type].resize(config) == expected


def test_older_file_of_a_processor_is_read(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    older = {"patch_size": 14, "merge_size": 2, "min_pixels": 3136, "max_pixels": 12845056}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(older))
    assert Family.of_folder(tmp_path) == Family(tmp_path.name, 28, (3136, 12845056), "qwen2_5_vl")


@pytest.mark.parametrize("held", [None, "{", "[]", '{"patch_size": 14}'])
def test_folder_without_a_processor_of_the_families_is_refused(tmp_path, held):
    (tmp_path / "config.json").write_text("{}")
    if held is not None:
        (tmp_path / "preprocessor_config.json").write_text(held)
    with pytest.raises(ConfigError, match="preprocessor_config.json"):
        Family.of_folder(tmp_path)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", ["Qwen2.5-VL"]),
        ("/models/Qwen3-VL-8B-Thinking", ["Qwen3-VL"]),
        ("{folder}", ["Qwen3.5"]),
        ("mine/model", ["Qwen2.5-VL", "Qwen3-VL", "Qwen3.5"]),
        ("null", ["Qwen2.5-VL", "Qwen3-VL", "Qwen3.5"]),
    ],
)
def test_family_of_a_run_is_known_by_the_name_or_the_folder_of_its_model(tmp_path, path, names):
    (tmp_path / "config.json").write_text('{"model_type": "qwen3_5_moe"}')
    config = OmegaConf.create({"actor_rollout_ref": {"model": {"path": path.format(folder=tmp_path)}}})
    assert [family.name for family in families_of(config)] == names


def test_limit_of_the_run_that_a_family_cannot_keep_is_named():
    config = composed(PRIMARY, ["visual_tool.max_image_pixels=20000"])
    assert RELEASED[0].resize(config).limits[1] == 20000
    with pytest.raises(ConfigError, match="visual_tool.max_image_pixels=20000"):
        RELEASED[1].resize(config)
