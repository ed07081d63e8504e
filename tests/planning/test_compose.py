# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The configuration of a run is composed without verl, also from folders that hydra has to be told in quotes."""

from __future__ import annotations

import pytest

from verl_mapo.planning.compose import PRIMARY, composed
from verl_mapo.settings import ConfigError


def test_configuration_is_that_of_the_run():
    config = composed(PRIMARY, ["method=axpo", "visual_tool.max_image_pixels=50176"])
    assert config.algorithm.adv_estimator == "axpo" and config.visual_tool.max_image_pixels == 50176
    assert config.data.max_prompt_length == 512  # verl's own


def test_search_path_of_the_user_is_kept(tmp_path):
    folder = tmp_path / "with space, and comma"
    (folder / "method").mkdir(parents=True)
    (folder / "method" / "mine.yaml").write_text("# @package _global_\nmine: 3\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f'hydra:\n  searchpath: [pkg://verl.trainer.config, "file://{folder}"]\n'
        "defaults: [ppo_trainer, method: mine, _self_]\n"
    )
    config = composed(recipe, ["data.train_batch_size=7"])
    assert config.mine == 3 and config.data.train_batch_size == 7


@pytest.mark.parametrize(("recipe", "words"), [(None, "absent.yaml"), ("defaults: [ppo_trainer]\n", "ppo_trainer")])
def test_recipe_that_hydra_cannot_read_is_named(tmp_path, recipe, words):
    file = tmp_path / "absent.yaml"
    if recipe is not None:
        file.write_text(recipe)
    with pytest.raises(ConfigError, match=words):
        composed(file, [])


def test_unknown_choice_is_named():
    with pytest.raises(ConfigError, match="nothing_like_it"):
        composed(PRIMARY, ["method=nothing_like_it"])
