# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Checks at the start of a run that the longest possible rollout fits: its tokens and its number of images."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from verl_mapo.names import IMAGES_PER_PROMPT, MAX_ASSISTANT_TURNS, ROLLOUT
from verl_mapo.rollout.images import processor_kwargs, processor_resizes
from verl_mapo.rollout.prompts import image_text, observation
from verl_mapo.rollout.row_messages import text_of
from verl_mapo.rollout.settings import LEAST_TURN_TOKENS, VisualToolSettings
from verl_mapo.settings import ConfigError, parse, select

logger = logging.getLogger(__name__)

_LIMITS = IMAGES_PER_PROMPT.removesuffix(".image")
_LIMIT_OF_VERL = f"{ROLLOUT}.limit_images"

_UNLIMITED = 999
"""Images that vLLM allows in a prompt where the run does not say how many."""


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
    _check_turn_tokens(settings, rollout.response_length)
    _, crops = processor_resizes(settings, processor.image_processor, processor_kwargs(config.data))
    crop = crops.tokens[1]
    text = len(tokenizer.encode(text_of(observation((image_text(turns, (9999, 9999)), None)))))
    shown = observations(config, settings)
    need = shown * (crop + text) + turns * LEAST_TURN_TOKENS
    if need > rollout.response_length:
        raise ConfigError(
            f"A rollout of {turns} turns may need {shown} observations x ({crop} crop + {text} text) tokens "
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
    setting, images = image_limit(config)
    if images < shown + 1:
        raise ConfigError(
            f"{setting}={images}, but a rollout of {turns} turns may show {shown + 1} images: set it to {shown + 1}."
        )


def check_number_of_images(config: DictConfig, most: int, row: int, uses_tools: bool) -> None:
    """Check that the engine takes the images of a row, and those that the tools may add to them.

    vLLM refuses a request with more images than its limit, which costs the whole group of the rollout.

    Args:
        config: the whole configuration.
        most: number of images of the row that has the most.
        row: that row, for the message.
        uses_tools: whether the row runs the loop of the visual tools.

    Raises:
        ConfigError: with the arithmetic.
    """
    setting, allowed = image_limit(config)
    added = observations(config, parse(VisualToolSettings, config)) if uses_tools else 0
    if most + added > allowed:
        shows = f", and a rollout may show {most} + {added} observations = {most + added}" if added else ""
        raise ConfigError(
            f"In the data, row {row} has {most} images{shows}, but {setting}={allowed}: set it to "
            f"{most + added}, or leave such rows out."
        )


def warn_of_long_prompts(config: DictConfig, most: int, processor: Any) -> None:
    """Log that prompts may be too long, where nothing leaves such rows out; their rollouts end without a token.

    Args:
        config: the whole configuration.
        most: number of images of the row that has the most.
        processor: the model's processor.
    """
    data = config.data
    settings = parse(VisualToolSettings, config)
    resize, _ = processor_resizes(settings, processor.image_processor, processor_kwargs(data))
    images = most * resize.tokens[1]
    if images >= data.max_prompt_length and not data.filter_overlong_prompts:
        logger.warning(
            "Rows have up to %d images, and at most %d tokens an image are %d, and data.max_prompt_length=%d: "
            "the rollouts of longer prompts end as prompt_length and are not trained on. Raise it, lower "
            "visual_tool.max_image_pixels, or set data.filter_overlong_prompts=true, which leaves such rows out.",
            most,
            resize.tokens[1],
            images,
            data.max_prompt_length,
        )


def images_allowed(config: DictConfig) -> int:
    """The number of images that the engine allows in a prompt; see :func:`image_limit`."""
    return image_limit(config)[1]


def image_limit(config: DictConfig) -> tuple[str, int]:
    """The setting that limits the images of a prompt, and its number.

    vLLM takes a number, or a mapping with ``count``; verl gives it ``limit_images`` in the place of both.

    Raises:
        ConfigError: vLLM would refuse it.
    """
    if (given := select(config, _LIMIT_OF_VERL)) is not None:
        return _LIMIT_OF_VERL, _count(_LIMIT_OF_VERL, given, 1)
    limits = _mapping(select(config, _LIMITS, {}))
    given = limits.get("image", _UNLIMITED)
    if isinstance(given, Mapping | DictConfig):
        given = given.get("count", _UNLIMITED)
    return IMAGES_PER_PROMPT, _count(IMAGES_PER_PROMPT, given, 0)


def _mapping(limits: Any) -> Mapping[str, Any] | DictConfig:
    """The limits of all media; vLLM also takes a text in JSON."""
    try:
        read = json.loads(limits) if isinstance(limits, str) else limits
    except ValueError:
        read = limits
    if not isinstance(read, Mapping | DictConfig):
        raise ConfigError(
            f"{_LIMITS}={limits!r} is refused: it holds a limit for each medium; set {IMAGES_PER_PROMPT}=8."
        )
    return read


def _count(setting: str, given: Any, least: int) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        shown = "null" if given is None else repr(given)
        raise ConfigError(f"{setting}={shown} is refused: it should be a number of images, for example 8.")
    return given


def _check_turn_tokens(settings: VisualToolSettings, response: int) -> None:
    """Refuse limits of a turn and of its labels that another limit reaches first."""
    turn, label = settings.max_turn_tokens, settings.max_label_tokens
    if turn is None:
        return
    if turn > response:
        raise ConfigError(
            f"visual_tool.max_turn_tokens={turn} ends no turn, because data.max_response_length={response} ends the "
            f"rollout before: set it to null, or lower than {response}."
        )
    if label > turn:
        raise ConfigError(
            f"visual_tool.max_label_tokens={label} limits no label, because visual_tool.max_turn_tokens={turn} ends "
            f"the turn before: set it to {turn} or lower."
        )


def observations(config: DictConfig, settings: VisualToolSettings) -> int:
    """The largest number of images that the tools add to a rollout: none follows its last turn."""
    return (select(config, MAX_ASSISTANT_TURNS, 1) - 1) * settings.calls_per_turn
