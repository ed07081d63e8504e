# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The tokens of tags: of a tool call, at which rollouts are cut or generation stops, and of a thought."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from verl_mapo.rollout.parser import CLOSE, THINK
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError

_TOKENS_OF_THE_TURN_HEADER = 8
"""Tokens before a turn among which a chat template opens a thought."""


def opens_thought(tokenizer: PreTrainedTokenizerBase, before: Sequence[int]) -> bool:
    """Whether the chat template has opened a thought at the end of the tokens before a turn, as for thinking models."""
    return tokenizer.decode(before[-_TOKENS_OF_THE_TURN_HEADER:]).rstrip().endswith(THINK)


def one_token(tokenizer: PreTrainedTokenizerBase, tag: str, use: str) -> int:
    """The id of the token that a tag is.

    Args:
        tokenizer: the model's tokenizer.
        tag: the tag.
        use: the setting that needs it, and what it does at the tag, such as ``x=true stops at``.

    Raises:
        ConfigError: the tag is not one token of this tokenizer.
    """
    ids = tokenizer.encode(tag, add_special_tokens=False)
    if len(ids) != 1:
        raise ConfigError(
            f"{use} {tag}, which is {len(ids)} tokens ({tokenizer.convert_ids_to_tokens(ids)}) for this model's "
            f"tokenizer and may merge with the next text: use a model whose tokenizer has {tag} as one token, as those "
            "of Qwen2.5-VL, Qwen3-VL and Qwen3.5 do."
        )
    return ids[0]


def stop_token(settings: VisualToolSettings, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The id of the token at which generation stops; None without ``visual_tool.stop_at_call``.

    Raises:
        ConfigError: ``</tool_call>`` is not one token of this tokenizer.
    """
    if not settings.stop_at_call:
        return None
    return one_token(tokenizer, CLOSE, f"{settings.NODE}.stop_at_call=true stops generation at")
