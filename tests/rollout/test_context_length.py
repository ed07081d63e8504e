# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The check that the longest possible rollout fits into the limits of a run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.scripted import compose_config

from verl_mapo.rollout.context_length import (
    check_context_length,
    check_number_of_images,
    images_allowed,
    warn_of_long_prompts,
)
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError, parse


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["data.max_response_length=100"], r"A rollout of 4 turns may need 3 observations x \(16 crop \+"),
        (["actor_rollout_ref.rollout.max_model_len=1500"], "= 2048 tokens, but .*max_model_len=1500: raise it to 2048"),
        (["actor_rollout_ref.rollout.multi_turn.max_assistant_turns=null"], "sets no limit to the turns of a rollout"),
        (["+actor_rollout_ref.rollout.engine_kwargs.vllm.limit_mm_per_prompt.image=2"], "image=2, but a rollout of 4"),
        (["+actor_rollout_ref.rollout.limit_images=1"], "rollout.limit_images=1, but a rollout of 4"),
        (["visual_tool.max_turn_tokens=1025"], "max_turn_tokens=1025 ends no turn, .*length=1024 .*: set it to null"),
        (["visual_tool.max_turn_tokens=31"], "max_label_tokens=32 limits no label, .*=31 ends .*: set it to 31"),
    ],
)
def test_rollout_that_cannot_fit_is_refused_with_the_arithmetic(tiny_models, overrides, sentence):
    model = tiny_models["qwen2_5_vl"]
    with pytest.raises(ConfigError, match=sentence):
        config = compose_config(*overrides)
        check_context_length(config, parse(VisualToolSettings, config), model.tokenizer, model.processor)
    check_context_length(compose_config(), VisualToolSettings(), model.tokenizer, model.processor)


LIMIT = "+actor_rollout_ref.rollout.engine_kwargs.vllm.limit_mm_per_prompt.image"


def test_images_of_a_row_and_its_observations_are_counted_together():
    config = compose_config(f"{LIMIT}=8")
    check_number_of_images(config, 5, 0, uses_tools=True)
    with pytest.raises(ConfigError, match=r"row 7 has 6 images, and a rollout may show 6 \+ 3 observations = 9, .*=8"):
        check_number_of_images(config, 6, 7, uses_tools=True)
    check_number_of_images(config, 8, 0, uses_tools=False)
    with pytest.raises(ConfigError, match="row 0 has 9 images, but .*image=8: set it to 9"):
        check_number_of_images(config, 9, 0, uses_tools=False)


@pytest.mark.parametrize(("limit", "allowed"), [("8", 8), ("{count: 5, width: 64}", 5), ("{}", 999), (None, 999)])
def test_limit_of_images_is_read_as_vllm_reads_it(limit, allowed):
    assert images_allowed(compose_config(*([] if limit is None else [f"{LIMIT}={limit}"]))) == allowed


LIMITS, OF_VERL = LIMIT.removesuffix(".image"), "+actor_rollout_ref.rollout.limit_images"


@pytest.mark.parametrize(
    ("overrides", "allowed"),
    [([f"{OF_VERL}=3", f"{LIMIT}=8"], 3), ([f"{OF_VERL}=null", f"{LIMIT}=8"], 8), ([LIMITS + """='{"image":4}'"""], 4)],
)
def test_limit_of_images_is_also_that_of_verl_or_a_text_in_json(overrides, allowed):
    assert images_allowed(compose_config(*overrides)) == allowed


@pytest.mark.parametrize(
    "override",
    [
        f"{OF_VERL}=0",
        f"{LIMITS}=8",
        f"{LIMITS}=[8]",
        *(f"{LIMIT}={wrong}" for wrong in ("null", "-1", "{count: null}")),
    ],
)
def test_limit_of_images_that_vllm_does_not_take_is_refused(override):
    with pytest.raises(ConfigError, match=r"limit_\S+=\S+ is refused: it .*8\.") as error:
        images_allowed(compose_config(override))
    assert str(error.value).startswith(override.partition("=")[0].removeprefix("+"))


@pytest.mark.parametrize(
    ("images", "overrides", "warned"),
    [
        (5, ["visual_tool.max_image_pixels=200704"], True),  # 5 x 256 tokens, and 1024 fit
        (4, ["visual_tool.max_image_pixels=200704"], True),  # 1024 leave no room for a question
        (3, ["visual_tool.max_image_pixels=200704"], False),
        (5, ["visual_tool.max_image_pixels=200704", "data.filter_overlong_prompts=true"], False),
    ],
)
def test_prompts_that_may_be_too_long_are_warned_of_where_no_filter_leaves_them_out(images, overrides, warned, caplog):
    size = {"shortest_edge": 3136, "longest_edge": 12845056}
    processor = SimpleNamespace(image_processor=SimpleNamespace(patch_size=14, merge_size=2, size=size))
    config = compose_config("data.filter_overlong_prompts=false", *overrides)
    warn_of_long_prompts(config, images, processor)
    assert (f"up to {images} images" in caplog.text) == warned
