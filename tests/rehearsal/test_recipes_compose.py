# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Every recipe composes into a rehearsal that passes all checks before Ray starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from transformers import AutoTokenizer

from verl_mapo.overrides import name_groups
from verl_mapo.rehearsal import data
from verl_mapo.rehearsal.command import prepare
from verl_mapo.training.start_checks import check_start

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*/*.yaml"))


def test_rehearsal_of_a_cluster_is_on_one_node(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SIZES", ((80, 60), (60, 80)))
    recipe = next(path for path in RECIPES if path.stem == "qwen3_vl_8b")
    ready = prepare(recipe, tmp_path, None, ["cluster=64"], weights=False)
    with initialize_config_dir(str(recipe.parent), version_base=None):
        config = compose(recipe.stem, ["stack=cpu", *name_groups(ready.overrides)])
    assert (config.trainer.nnodes, config.trainer.n_gpus_per_node, config.reward.num_workers) == (1, 1, 1)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_recipe_composes_into_a_rehearsal_that_passes_the_checks_of_the_start(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "SIZES", ((80, 60), (60, 80)))
    ready = prepare(recipe, tmp_path, None, [], weights=False)
    with initialize_config_dir(str(recipe.parent), version_base=None):
        config = compose(recipe.stem, ["stack=cpu", *ready.overrides])
    check_start(config)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    texts = ["<|im_start|>", "<|im_end|>", "<|image_pad|>", "<tool_call>", "</tool_call>"]
    assert tokenizer.convert_tokens_to_ids(texts) == [151_644, 151_645, 151_655, 151_657, 151_658], "Qwen's own ids"
    assert tokenizer.encode("<answer>2</answer>")[0] > 151_658, "an answer is one token"
    settings = [change.setting for change in ready.changed]
    assert len(settings) == len(set(settings)) and all(change.reason for change in ready.changed)
    assert config.data.max_response_length >= 2048, "lengths are the recipe's own"
