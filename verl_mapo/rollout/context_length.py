# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""A check at the start of a run that the longest possible rollout fits into the context length."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from verl_mapo.names import IMAGES_PER_PROMPT, MAX_ASSISTANT_TURNS
from verl_mapo.rollout.images import processor_kwargs, processor_resizes
from verl_mapo.rollout.prompts import image_text, observation, text_of
from verl_mapo.rollout.settings import LEAST_TURN_TOKENS, VisualToolSettings
from verl_mapo.settings import ConfigError, select


def check_context_length(config: DictConfig, settings: VisualToolSettings, tokenizer: Any, processor: Any) -> None:
    """Check that every image has a size, and a rollout has room for the observations that its settings allow.

    Args:
        config: the whole configuration.
        settings: the settings of the tools.
        tokenizer: counts the tokens of an observation's text.
        processor: the model's processor.

    Raises:
        ConfigError: the limits of pixels contradict each other (:func:`processor_resizes`), or a rollout may not fit.
            The message shows the sum and the settings to change.
    """
    rollout = config.actor_rollout_ref.rollout
    turns = rollout.multi_turn.max_assistant_turns
    if not turns:
        raise ConfigError(
            f"{MAX_ASSISTANT_TURNS}=null sets no limit to the turns of a rollout: set it, for example to 6."
        )
    _, crops = processor_resizes(settings, processor.image_processor, processor_kwargs(config.data))
    crop = crops.tokens[1]
    text = len(tokenizer.encode(text_of(observation((image_text(turns, (9999, 9999)), None)))))
    observations = (turns - 1) * settings.calls_per_turn
    need = observations * (crop + text) + turns * LEAST_TURN_TOKENS
    if need > rollout.response_length:
        raise ConfigError(
            f"A rollout of {turns} turns may need {observations} observations x ({crop} crop + {text} text) tokens "
            f"+ {turns} turns x {LEAST_TURN_TOKENS} tokens = {need}, but "
            f"data.max_response_length={rollout.response_length}: raise it to {need}, or lower "
            f"visual_tool.max_crop_pixels, visual_tool.calls_per_turn or {MAX_ASSISTANT_TURNS}."
        )
    whole = rollout.prompt_length + rollout.response_length
    if rollout.max_model_len and whole > rollout.max_model_len:
        raise ConfigError(
            f"data.max_prompt_length={rollout.prompt_length} + data.max_response_length={rollout.response_length} "
            f"= {whole} tokens, but actor_rollout_ref.rollout.max_model_len={rollout.max_model_len}: "
            f"raise it to {whole}."
        )
    images = select(config, IMAGES_PER_PROMPT)
    shown = 1 + observations
    if images is not None and images < shown:
        raise ConfigError(
            f"{IMAGES_PER_PROMPT}={images}, but a rollout of {turns} turns may show {shown} images: set it to {shown}."
        )
