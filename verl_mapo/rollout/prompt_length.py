# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The number of tokens of a row's prompt, as the agent loop shows it. No pixel is decoded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf
from PIL import Image
from verl.utils.tokenizer.continuous_token_wiring import create_continuous_token_builder

from verl_mapo.rollout import prompts
from verl_mapo.rollout.image_features import without_pixels
from verl_mapo.rollout.images import processor_kwargs, processor_resizes
from verl_mapo.rollout.plain_text import PlainText
from verl_mapo.rollout.row_messages import normal_form
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import parse


class PromptLength:
    """Counts the tokens of prompts as :class:`verl_mapo.rollout.loop.VisualToolAgentLoop` shows them.

    They hold the declaration of the tools, and images of the size at which the model sees them.

    Args:
        config: the whole configuration.
        tokenizer: the model's tokenizer.
        processor: the model's processor, as verl makes it.
    """

    def __init__(self, config: DictConfig, tokenizer: Any, processor: Any):
        self.settings = parse(VisualToolSettings, config)
        kwargs = processor_kwargs(config.data)
        self.resize, _ = processor_resizes(self.settings, processor.image_processor, kwargs)
        model_type = processor.config.model_type
        self.tools = self.settings.build_tools(self.settings.space(model_type), self.resize.factor)
        self.plain_text = PlainText(tokenizer)
        template = OmegaConf.to_container(OmegaConf.create(config.data.get("apply_chat_template_kwargs") or {}))
        self.builder = create_continuous_token_builder(
            tokenizer,
            hf_model_type=model_type,
            chat_template_kwargs=template,
            mm_processor_kwargs=kwargs,
            processor=without_pixels(processor),
        )

    def __call__(self, messages: list[dict[str, Any]]) -> int:
        """The number of tokens of a prompt.

        Args:
            messages: the messages of a row, see :func:`verl_mapo.rollout.row_messages.normal_form`.

        Raises:
            UnreadableImage: the row cannot be shown, so far as its messages and the heads of its image files tell.
            BoxError: an image is too thin.
        """
        plain, pictures = normal_form(messages)
        shown = prompts.shown(plain, self.plain_text, self.tools.values(), self.settings)
        sizes = [replace(self.resize, asked=picture.asked)(picture.stored_size()) for picture in pictures]
        blanks = [Image.new("1", size) for size in sizes]
        return len(self.builder.build_initial_tokens(shown, images=blanks or None))
