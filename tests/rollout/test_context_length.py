# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The check that the longest possible rollout fits into the limits of a run."""

from __future__ import annotations

import pytest
from support.scripted import compose_config

from verl_mapo.rollout.context_length import check_context_length
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["data.max_response_length=100"], r"A rollout of 4 turns may need 3 observations x \(16 crop \+"),
        (["actor_rollout_ref.rollout.max_model_len=1500"], "= 2048 tokens, but .*max_model_len=1500: raise it to 2048"),
        (["actor_rollout_ref.rollout.multi_turn.max_assistant_turns=null"], "sets no limit to the turns of a rollout"),
        (["+actor_rollout_ref.rollout.engine_kwargs.vllm.limit_mm_per_prompt.image=2"], "image=2, but a rollout of 4"),
    ],
)
def test_rollout_that_cannot_fit_is_refused_with_the_arithmetic(tiny_models, overrides, sentence):
    model = tiny_models["qwen2_5_vl"]
    with pytest.raises(ConfigError, match=sentence):
        check_context_length(compose_config(*overrides), VisualToolSettings(), model.tokenizer, model.processor)
    check_context_length(compose_config(), VisualToolSettings(), model.tokenizer, model.processor)
