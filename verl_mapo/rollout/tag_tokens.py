# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The tokens of the tags around a tool call, at which rollouts are cut or generation stops."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from verl_mapo.rollout.parser import CLOSE
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError


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
