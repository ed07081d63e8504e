# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Every recipe composes on verl's own configuration, is short, and passes every check that needs no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import validate_config

from verl_mapo.advantages.axpo import AxpoConfig
from verl_mapo.data.tiny_vlm import build_processor
from verl_mapo.rollout.budget import check_budget
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import parse
from verl_mapo.training.checks import check_config, check_rows

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*/*.yaml"))
LONGEST_EDGE = {"qwen2_5_vl": 12_845_056, "qwen3_vl": 16_777_216}
"""Most pixels of the released processors, by the family that a recipe's name begins with."""


def composed(recipe):
    with initialize_config_dir(str(recipe.parent), version_base=None):
        return compose(recipe.stem, ["data.train_files=a.parquet", "data.val_files=b.parquet"])


@pytest.fixture(params=RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def recipe(request):
    return request.param


@pytest.fixture
def config(recipe):
    return composed(recipe)


def test_it_passes_verls_checks_and_ours(recipe, config):
    validate_config(config, need_reference_policy(config), need_critic(config))
    check_config(config)
    check_rows(config, ["prompt", "images"])
    family = next(name for name in LONGEST_EDGE if recipe.stem.startswith(name))
    processor = build_processor(family)
    processor.image_processor.size = {"shortest_edge": 4 * 28 * 28, "longest_edge": LONGEST_EDGE[family]}
    settings = parse(VisualToolSettings, config.visual_tool, "visual_tool")
    check_budget(config, settings, processor.tokenizer, processor)


def test_a_whole_rollout_fits_a_micro_batch_and_a_prefill(config):
    whole = config.data.max_prompt_length + config.data.max_response_length
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    assert whole <= min(actor.ppo_max_token_len_per_gpu, rollout.max_num_batched_tokens, rollout.max_model_len)
    assert whole <= rollout.log_prob_max_token_len_per_gpu


def test_its_folder_is_its_estimator(recipe, config):
    assert config.algorithm.adv_estimator == recipe.parent.name


def test_the_axpo_recipe_has_what_the_paper_states():
    config = composed(next(path for path in RECIPES if path.stem == "qwen3_vl_8b_thinking"))
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    axpo = parse(AxpoConfig, config.algorithm.axpo, "algorithm.axpo")
    assert (axpo.continuations, axpo.ratio, rollout.n, rollout.temperature) == (4, 0.25, 8, 1.0)
    assert axpo.slots(config.data.train_batch_size * rollout.n) == config.data.train_batch_size / 2
    assert (actor.clip_ratio_low, actor.clip_ratio_high) == (0.2, 0.4)
    assert (actor.use_kl_loss, actor.kl_loss_coef, config.algorithm.use_kl_in_reward) == (True, 1e-3, False)
    assert (rollout.multi_turn.max_assistant_turns, config.trainer.n_gpus_per_node) == (3, 8)


def test_it_is_short_and_its_header_launches_it(recipe):
    text = recipe.read_text()
    assert len(text.splitlines()) <= 60
    assert f"--config-name {recipe.stem}" in text and "python -m verl.trainer.main_ppo" in text
    assert (recipe.parent / "REQUIRED_VERL.txt").read_text().strip() == "verl==0.9.1"
