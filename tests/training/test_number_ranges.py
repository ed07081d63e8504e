# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers of verl's settings that cannot work."""

from __future__ import annotations

import math

import pytest
from omegaconf import OmegaConf, open_dict
from support.scripted import compose_config

from verl_mapo.settings import ConfigError, select
from verl_mapo.training.number_ranges import NEEDED, RANGES, Count, OffOrCount, PositiveShare, numbers_out_of_range
from verl_mapo.training.setting_values import check_setting_values

MISSING = object()


def with_values(values: dict):
    config = compose_config()
    with open_dict(config):
        for path, value in values.items():
            OmegaConf.update(config, path, value, force_add=True)
    return config


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("actor_rollout_ref.rollout.temperature=0", "rollout.temperature=0 is refused: it should be greater than 0"),
        ("actor_rollout_ref.rollout.n=2.5", "n=2.5 is refused: it should be a valid integer, for example 8"),
        ("data.train_batch_size=64.0", "data.train_batch_size=64.0 is refused: it should be a valid integer"),
        ("actor_rollout_ref.rollout.n=true", "rollout.n=True is refused: it should be a number, such as 1"),
        ("trainer.save_freq=true", "trainer.save_freq=True is refused: it should be a number, such as -1"),
        ("actor_rollout_ref.model.lora_alpha=0", "lora_alpha=0 is refused: it should be greater than 0"),
        ("actor_rollout_ref.actor.clip_ratio_c=0.5", "clip_ratio_c=0.5 is refused: it should be greater than 1"),
        ("data.train_batch_size=-8", "data.train_batch_size=-8 is refused: it should be greater than 0, for example 1"),
        ("data.train_batch_size=null", "data.train_batch_size=null is refused: it should be a number, for example 128"),
        ("reward.num_workers=null", "reward.num_workers=null is refused: it should be a number, for example 8"),
        ("+ray_kwargs.ray_init.object_store_memory=big", "object_store_memory='big' is refused: it should be a valid"),
        ("trainer.max_actor_ckpt_to_keep=0", "ckpt_to_keep=0 is refused: it should be greater than 0, for example 2"),
        ("data.train_max_samples=null", "train_max_samples=null is refused: it should be a number, for example -1"),
        ("data.train_max_samples='5'", "train_max_samples='5' is refused: it should be a valid integer"),
        ("data.val_max_samples=0.5", "val_max_samples=0.5 is refused: it should be a valid integer"),
        (
            "actor_rollout_ref.rollout.engine_kwargs.vllm.mm_processor_cache_gb=-1",
            "mm_processor_cache_gb=-1 is refused: it should be greater than or equal to 0, for example 4",
        ),
        ("actor_rollout_ref.actor.optim.lr=nan", "optim.lr=nan is refused: it should be a finite number"),
        ("actor_rollout_ref.actor.loss_agg_mode=token", "use one of token-mean, token-sum"),
        ("actor_rollout_ref.actor.optim.lr_scheduler_type=cosin", "did you mean cosine?"),
    ],
)
def test_number_or_name_is_refused_in_words(override, words):
    with pytest.raises(ConfigError) as error:
        check_setting_values(compose_config(override))
    assert words in str(error.value)


@pytest.mark.parametrize("wrong", [-1, math.nan, math.inf])
def test_every_number_of_the_table_has_a_range(wrong):
    off = [path for path, (kind, _) in RANGES.items() if kind is OffOrCount]
    free = ["actor_rollout_ref.actor.entropy_coeff", *off] if wrong == -1 else []
    config = with_values({path: wrong for path in RANGES})
    refused = " ".join(numbers_out_of_range(config))
    missed = [path for path in RANGES if f"{path}={wrong!r} is refused" not in refused and path not in free]
    assert not missed


def test_counts_are_whole_and_at_least_one_and_shares_are_at_most_one():
    counts = {path: 0 for path, (kind, _) in RANGES.items() if kind is Count}
    shares = {path: 1.5 for path, (kind, _) in RANGES.items() if kind is PositiveShare}
    assert len(counts) > 20 and len(shares) == 3
    sentences = [*numbers_out_of_range(with_values(counts | shares))]
    assert len(sentences) == len(counts) + len(shares)
    assert len([*numbers_out_of_range(with_values(dict.fromkeys(counts, 1.5)))]) == len(counts)


def test_examples_are_in_their_ranges_and_settings_are_those_of_verl():
    config = compose_config()
    absent = [path for path in RANGES if OmegaConf.select(config, path, default=MISSING) is MISSING]
    assert absent == ["ray_kwargs.ray_init.object_store_memory"], "a user adds it, and Ray reads it"
    assert [*numbers_out_of_range(with_values({path: example for path, (_, example) in RANGES.items()}))] == []
    assert all(select(config, path) is not None for path in NEEDED)
    assert [*numbers_out_of_range(with_values({path: None for path in RANGES if path not in NEEDED}))] == []
