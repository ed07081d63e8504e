# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The formulas of a plan against values computed by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_mapo.planning.arithmetic import (
    GB,
    checkpoint_bytes,
    feature_bytes,
    kv_bytes,
    kv_of_one_look,
    kv_tokens,
    number_of_saves,
    object_store,
    pinned,
    share_for_kv,
    token_bytes,
    update_bytes,
)


def test_pinned_tensors_are_rounded_up_to_a_power_of_two():
    # 50 matrices of 2048 x 11008 float32 values, of 90 MB each, took 6.71 GB of an H100's host
    assert 50 * pinned(2048 * 11008) * 4 == 6_710_886_400
    # the embeddings of Qwen2.5-VL-3B: 151,936 x 2048 are 1.2 GB in float32, and take 2.1 GB
    assert pinned(151_936 * 2048) * 4 == 2**31
    assert [pinned(elements) for elements in (1, 2, 3, 4, 5)] == [1, 2, 4, 4, 8]


@given(st.integers(1, 2**40), st.integers(0, 4))
def test_pinned_size_is_less_than_twice_the_tensor_whatever_its_dtype(elements, scale):
    assert elements <= pinned(elements) < 2 * elements
    assert pinned(elements << scale) == pinned(elements) << scale, "bytes are rounded as elements are"


def test_features_of_an_image_are_its_patches():
    # 1280 tokens x 4 patches x 3 channels x 2 frames x 14 x 14, in bfloat16: the 12 MB of docs/performance.md
    assert feature_bytes(1280, 4704, 2) == 12_042_240
    assert feature_bytes(1280, 6144, 2) == 15_728_640


def test_columns_of_tokens_are_those_of_a_row_of_the_queue():
    # a sequence of 10, 4 of them response: ids twice and four position ids of 8 bytes each; two masks of 8 bytes, a
    # log-prob and a reward of 4
    assert token_bytes(10, 4, trained=False) == 10 * 6 * 8 + 4 * (2 * 8 + 2 * 4)
    # then log-probs of the sequence; old log-probs, entropy, advantage and return of the response
    assert token_bytes(10, 4) == token_bytes(10, 4, trained=False) + 10 * 4 + 4 * 4 * 4


def test_kv_cache_of_the_recipes():
    assert kv_bytes(layers=28, heads=4, head_size=128) == 57_344  # Qwen2.5-VL-7B
    assert kv_bytes(layers=36, heads=8, head_size=128) == 147_456  # Qwen3-VL-8B
    weights = 8_767_123_696 * 2
    # 0.6 x 80 - 6 - 17.534 = 24.466 GB, 1.3 thousand tokens for each of 128 rollouts; 0.8 has 40.466 GB
    assert kv_tokens(80 * GB, 0.6, 1, weights, 147_456) == 165_919
    assert kv_tokens(80 * GB, 0.8, 1, weights, 147_456) == 274_425
    assert kv_tokens(24 * GB, 0.6, 1, weights, 147_456) == 0
    # two GPUs share the weights: 2 x 42 - 17.534 = 66.466 GB
    assert kv_tokens(80 * GB, 0.6, 2, weights, 147_456) == 450_749


def test_share_that_is_recommended_is_enough():
    for tokens in (1, 20_000, 300_000):
        share = share_for_kv(80 * GB, 2, 17 * GB, 147_456, tokens)
        assert kv_tokens(80 * GB, share + 1e-9, 2, 17 * GB, 147_456) >= tokens
        assert kv_tokens(80 * GB, share - 1e-3, 2, 17 * GB, 147_456) < tokens


def test_rollouts_of_a_prompt_share_its_keys():
    assert kv_of_one_look(1680, 8, 1310) == 1520
    assert kv_of_one_look(1680, 1, 0) == 1680


def test_update_holds_its_share_of_the_states_the_inputs_of_layers_and_the_logits():
    # 8e9 x 16 / 8 = 16 GB; 24576 x 36 x 4096 x 2 = 7.248 GB; 2 x 24576 x 151936 x 2 = 14.936 GB
    whole = update_bytes(8 * GB, 8 * GB, 8, 24_576, 36, 4096, 151_936)
    assert whole == 16 * GB + 7_247_757_312 + 14_935_916_544
    assert update_bytes(8 * GB, 0, 8, 0, 36, 4096, 151_936) == 4 * GB, "LoRA has no gradients of the frozen weights"
    assert update_bytes(0, 0, 8, 24_576, 36, 4096, 0) == 7_247_757_312, "fused kernels make no logits"


@pytest.mark.parametrize(
    ("contents", "size"),
    [
        (["model", "optimizer", "extra"], 96 * GB),
        (["model"], 32 * GB),
        (["model", "optimizer", "extra", "hf_model"], 112 * GB),
    ],
)
def test_checkpoint_has_twelve_bytes_a_parameter(contents, size):
    assert checkpoint_bytes(8 * GB, 8 * GB, contents) == size


def test_last_step_is_saved_as_well():
    assert [number_of_saves(steps, 20) for steps in (0, 1, 20, 21, 367)] == [0, 1, 1, 2, 19]
    assert number_of_saves(100, -1) == number_of_saves(100, 0) == 0


def test_object_store_is_a_share_of_the_memory_up_to_a_limit():
    assert (object_store(100 * GB), object_store(2000 * GB)) == (30 * GB, 200 * GB)
