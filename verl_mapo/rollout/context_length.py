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
"""Whether the longest possible rollout fits, checked once at start and explained with its arithmetic."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from verl_mapo.rollout.images import image_token_side, pixel_limits
from verl_mapo.rollout.prompts import observation, sight_text
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError, select

LEAST_TURN_TOKENS = 16
"""Policy tokens a turn needs at the very least, for a label and a box."""


def worst_crop_tokens(settings: VisualToolSettings, image_processor: Any, processor_kwargs: dict[str, Any]) -> int:
    """Image tokens of the largest crop the model can be shown."""
    _, most = pixel_limits(image_processor, processor_kwargs, settings.max_crop_pixels)
    return most // image_token_side(image_processor) ** 2


def check_context_length(config: DictConfig, settings: VisualToolSettings, tokenizer: Any, processor: Any) -> None:
    """Stop a run whose rollouts cannot hold the observations that its settings allow.

    Raises:
        ConfigError: with the sum, and with the settings that would make it fit.
    """
    rollout = config.actor_rollout_ref.rollout
    turns = rollout.multi_turn.max_assistant_turns
    if not turns:
        raise ConfigError(
            "actor_rollout_ref.rollout.multi_turn.max_assistant_turns=null gives a rollout no end: "
            "set it, for example to 6."
        )
    crop = worst_crop_tokens(settings, processor.image_processor, dict(config.data.get("mm_processor_kwargs") or {}))
    parts = observation(sight_text(turns, (9999, 9999)))["content"]
    frame = len(tokenizer.encode("".join(part["text"] for part in parts)))
    looks = turns - 1
    need = looks * (crop + frame) + turns * LEAST_TURN_TOKENS
    if need > rollout.response_length:
        raise ConfigError(
            f"A rollout of {turns} turns may need {looks} observations x ({crop} crop + {frame} text) tokens "
            f"+ {turns} turns x {LEAST_TURN_TOKENS} tokens = {need}, but "
            f"data.max_response_length={rollout.response_length}: raise it to {need}, or lower "
            "visual_tool.max_crop_pixels or actor_rollout_ref.rollout.multi_turn.max_assistant_turns."
        )
    whole = rollout.prompt_length + rollout.response_length
    if rollout.max_model_len and whole > rollout.max_model_len:
        raise ConfigError(
            f"data.max_prompt_length={rollout.prompt_length} + data.max_response_length={rollout.response_length} "
            f"= {whole} tokens, but actor_rollout_ref.rollout.max_model_len={rollout.max_model_len}: "
            f"raise it to {whole}."
        )
    path = "actor_rollout_ref.rollout.engine_kwargs.vllm.limit_mm_per_prompt.image"
    images = select(config, path)
    if images is not None and images < turns:
        raise ConfigError(
            f"{path}={images}, but a rollout of {turns} turns may show {turns} images: set it to {turns}."
        )
